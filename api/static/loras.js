// LoRAs: those that fit the model, each with a weight, and those to draw in few steps with.
import { Labelled } from "./fields.js";
import { useStore } from "./store.js";
import { modelOf, setValue, valueOf } from "./values.js";
import { html } from "./vendor/preact-htm.js";

const fitting =
    ({ family }) =>
    (lora) =>
        !lora.why_not && (!lora.family || lora.family === family);

export function LorasField({ about }) {
    const catalogue = useStore((state) => state.catalogue);
    const values = useStore((state) => state.values);
    const chosen = values.loras || [];
    const fits = fitting(modelOf({ catalogue, values }));
    const isChosen = (lora) => chosen.some((each) => each.name === lora.name);
    const others = catalogue.loras.filter((lora) => fits(lora) && !isChosen(lora));
    if (!chosen.length && !others.length) return null;
    const choose = (loras) => setValue("loras", loras.length ? loras : undefined);
    const add = ({ target }) => choose([...chosen, { name: target.value, weight: 1 }]);
    const change = (lora) => choose(chosen.map((each) => (each.name === lora.name ? lora : each)));
    const remove = (lora) => choose(chosen.filter((each) => each !== lora));
    const added = chosen.length < about.maxItems ? others : [];
    // where there is none to add it can still be focused, for what is wrong stands below it
    const select = (ties) => html`<select value="" onChange=${add} ...${ties}>
        <option value="">${added.length ? "Add one …" : "No more can be added"}</option>
        ${added.map((each) => html`<option key=${each.name} value=${each.name}>${each.title}</option>`)}
    </select>`;
    const known = (name) => catalogue.loras.find((each) => each.name === name);
    const words = chosen.flatMap(({ name }) => known(name)?.trigger_words ?? []);
    const hint = words.length ? `In the prompt these call for them: ${words.join(", ")}.` : "";
    return html`<div class="field">
        <${Labelled} name="loras" title=${about.title} hint=${hint} control=${select} />
        ${chosen.map((lora) => html`
            <${Chosen} key=${lora.name} lora=${lora} title=${known(lora.name)?.title || lora.name}
                change=${change} remove=${remove} />`)}
    </div>`;
}

const NO_ACCELERATOR = "none";

export function AcceleratorField({ about }) {
    const catalogue = useStore((state) => state.catalogue);
    const values = useStore((state) => state.values);
    const chosen = valueOf(values, { accelerator: about }, "accelerator");
    const fits = fitting(modelOf({ catalogue, values }));
    const choices = catalogue.loras.filter((lora) => lora.name === chosen || (lora.accelerates && fits(lora)));
    if (!choices.length && chosen === NO_ACCELERATOR) return null;
    const known = choices.some((lora) => lora.name === chosen) || chosen === NO_ACCELERATOR;
    const kind = ({ accelerates }) => (accelerates ? ` (${accelerates.kind})` : "");
    const choose = ({ target }) => setValue("accelerator", target.value);
    const select = (ties) => html`<select value=${chosen} onChange=${choose} ...${ties}>
        <option value=${NO_ACCELERATOR} selected=${chosen === NO_ACCELERATOR}>Without a LoRA</option>
        ${!known && html`<option value=${chosen} selected>${chosen} (not here)</option>`}
        ${choices.map((each) => html`
            <option key=${each.name} value=${each.name} selected=${each.name === chosen}>
                ${each.title}${kind(each)}
            </option>`)}
    </select>`;
    const hint = chosen === NO_ACCELERATOR ? "" : "Steps, guidance and sampler are its own, where nothing else is chosen.";
    return html`<${Labelled} name="accelerator" title=${about.title} hint=${hint} control=${select} />`;
}

// Both weights change together; one that differs for the text comes with an image that was drawn so.
function Chosen({ lora, title, change, remove }) {
    const weigh = ({ target }) =>
        change({ name: lora.name, ...(target.value !== "" && { weight: Number(target.value) }) });
    return html`<div class="together lora">
        <label for=${`lora-${lora.name}`}>${title}</label>
        <input
            type="number"
            inputmode="decimal"
            id=${`lora-${lora.name}`}
            value=${lora.weight ?? ""}
            step="0.05"
            placeholder="1"
            aria-label=${`Weight of ${title}`}
            onInput=${weigh}
        />
        <button type="button" class="quiet" aria-label=${`Leave out ${title}`} onClick=${() => remove(lora)}>Remove</button>
    </div>`;
}
