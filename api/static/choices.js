// Model, sampler and seed: what the service's lists say of them stands beside the choice.
import { findModels } from "./api.js";
import { Labelled } from "./fields.js";
import { keepShape } from "./size.js";
import { get, notify, set, useStore } from "./store.js";
import { modelOf, setValue, valueOf } from "./values.js";
import { html } from "./vendor/preact-htm.js";

// these are chosen elsewhere
const ADDED = ["embedding", "lora", "controlnet"];

export function ModelField({ about }) {
    const catalogue = useStore((state) => state.catalogue);
    const values = useStore((state) => state.values);
    const model = modelOf({ catalogue, values });
    const choose = ({ target }) =>
        keepShape(() => setValue("ckpt", target.value === catalogue.defaultModel ? undefined : target.value));
    const sizes = `${model.native_size} pixels a side, ${model.max_size}x${model.max_size} at most`;
    const usable = `${sizes}, ${model.warm ? "in memory" : "loaded when it is first used"}`;
    const hint = model.available ? usable : model.why_not;
    const select = (ties) => html`<select value=${model.name} onChange=${choose} ...${ties}>
        ${catalogue.models.map((each) => html`
            <option value=${each.name} disabled=${!each.available} selected=${each === model}>
                ${each.label}${each.available ? "" : " (not here)"}
            </option>`)}
    </select>`;
    return html`<div>
        <${Labelled} name="ckpt" title=${about.title} hint=${hint} control=${select} />
        <${Absent}
            models=${catalogue.models.filter((each) => !each.available)}
            added=${[...catalogue.loras, ...catalogue.controlnets].filter((each) => each.why_not)}
            others=${catalogue.others.filter((each) => !ADDED.includes(each.kind))}
        />
    </div>`;
}

function Absent({ models, added, others }) {
    const entries = [
        ...models.map((each) => ({ name: each.label, why: each.why_not })),
        ...added.map((each) => ({ name: each.file, why: each.why_not })),
        ...others.map((each) => ({ name: each.file || each.name, why: each.about })),
    ];
    const look = async () => {
        try {
            set({ catalogue: { ...get().catalogue, ...(await findModels()) } });
            notify("The workers have looked again.");
        } catch (error) {
            notify(error.message);
        }
    };
    return html`<details class="aside">
        <summary>${entries.length ? `Why ${entries.length} cannot be chosen` : "New models"}</summary>
        <dl>${entries.map(({ name, why }) => html`<dt>${name}</dt><dd>${why}</dd>`)}</dl>
        <button type="button" class="quiet" onClick=${look}>Look for new models</button>
    </details>`;
}

export function SamplerField({ about }) {
    const { samplers } = useStore((state) => state.catalogue);
    const name = useStore((state) => valueOf(state.values, { sampler: about }, "sampler"));
    const sampler = samplers.find((each) => each.name === name || each.aliases.includes(name)) || samplers[0];
    const choose = (event) => setValue("sampler", event.target.value);
    const select = (ties) => html`<select value=${sampler.name} onChange=${choose} ...${ties}>
        ${samplers.map((each) => html`
            <option value=${each.name} selected=${each === sampler}>${each.label}</option>`)}
    </select>`;
    return html`<${Labelled} name="sampler" title=${about.title} hint=${sampler.note} control=${select} />`;
}

export function SeedField({ about }) {
    const value = useStore((state) => state.values.seed);
    const last = useStore((state) => state.done.find((job) => job.images?.length)?.images[0].seed);
    // what is no number goes as it is, and the service says what is wrong with it
    const change = ({ target }) => setValue("seed", /^\d+$/.test(target.value) ? Number(target.value) : target.value);
    const random = () => setValue("seed");
    const keep = () => setValue("seed", last);
    const control = (ties) => html`<div class="together">
        <input type="text" inputmode="numeric" placeholder="random" value=${value ?? ""} onInput=${change} ...${ties} />
        <button type="button" class="quiet" disabled=${value === undefined} onClick=${random}>Random</button>
        <button type="button" class="quiet" disabled=${last === undefined} onClick=${keep}>Keep last</button>
    </div>`;
    return html`<${Labelled} name="seed" title=${about.title} control=${control} />`;
}
