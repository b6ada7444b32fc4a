// Model, sampler, seed and size: what the service's lists say of them stands beside the choice.
import { Labelled, number } from "./fields.js";
import { get, useStore } from "./store.js";
import { modelOf, setValue, setValues, valueOf } from "./values.js";
import { html } from "./vendor/preact-htm.js";

export function ModelField({ about }) {
    const catalogue = useStore((state) => state.catalogue);
    const values = useStore((state) => state.values);
    const model = modelOf({ catalogue, values });
    const others = catalogue.models.filter((each) => !each.available);
    const choose = (event) => {
        const shape = shapeOf(get());
        setValue("ckpt", event.target.value === catalogue.defaultModel ? undefined : event.target.value);
        if (shape) setShape(shape);
    };
    const hint = [
        `${model.native_size} pixels a side, ${model.max_size} at most`,
        model.warm ? "in memory" : "loaded when it is first used",
    ];
    return html`<div>
    <${Labelled} name="ckpt" title=${about.title} hint=${model.available ? hint.join(", ") : model.why_not} control=${(
        props,
    ) => html`
      <select value=${model.name} onChange=${choose} ...${props}>
        ${catalogue.models.map(
            (each) => html`<option value=${each.name} disabled=${!each.available} selected=${each === model}>
          ${each.label}${each.available ? "" : " (not here)"}</option>`,
        )}
      </select>`} />
    ${
        others.length > 0 &&
        html`<details class="aside"><summary>Why ${others.length === 1 ? "one" : others.length} cannot be chosen</summary>
      <dl>${others.map((each) => html`<dt>${each.label}</dt><dd>${each.why_not}</dd>`)}</dl></details>`
    }
  </div>`;
}

export function SamplerField({ about }) {
    const { samplers } = useStore((state) => state.catalogue);
    const name = useStore((state) => valueOf(state.values, { sampler: about }, "sampler"));
    const sampler = samplers.find((each) => each.name === name || each.aliases.includes(name)) || samplers[0];
    return html`<${Labelled} name="sampler" title=${about.title} hint=${sampler.note} control=${(props) => html`
    <select value=${sampler.name} onChange=${(event) => setValue("sampler", event.target.value)} ...${props}>
      ${samplers.map((each) => html`<option value=${each.name} selected=${each === sampler}>${each.label}</option>`)}
    </select>`} />`;
}

export function SeedField({ about }) {
    const value = useStore((state) => state.values.seed);
    const last = useStore((state) => state.done.find((job) => job.images?.length)?.images[0].seed);
    const change = (event) =>
        setValue("seed", /^\d+$/.test(event.target.value) ? Number(event.target.value) : event.target.value);
    return html`<${Labelled} name="seed" title=${about.title} control=${(props) => html`<div class="together">
    <input type="text" inputmode="numeric" placeholder="random" value=${value ?? ""} onInput=${change} ...${props} />
    <button type="button" class="quiet" disabled=${value === undefined} onClick=${() => setValue("seed")}>Random</button>
    <button type="button" class="quiet" disabled=${last === undefined} title="The seed of the newest image" onClick=${() => setValue("seed", last)}>Keep last</button>
  </div>`} />`;
}

const SHAPES = ["1:1", "3:2", "2:3", "4:3", "3:4", "16:9", "9:16"];
const ratio = (shape) => shape.split(":").reduce((width, height) => width / height);
const CLOSE = 0.06; // sides are multiples of a step, so that small images miss their shape a little

// The pixels of a shape: as many as the model was trained with, within what it allows.
function sizeOf(shape, model) {
    const [width, height] = [model.native_size * Math.sqrt(ratio(shape)), model.native_size / Math.sqrt(ratio(shape))];
    const shrink = Math.min(1, model.max_size / Math.max(width, height));
    const allowed = (side) =>
        Math.min(
            model.max_size,
            Math.max(model.min_size, Math.round((side * shrink) / model.size_step) * model.size_step),
        );
    return { W: allowed(width), H: allowed(height) };
}

const pixelsOf = (state) => {
    const { native_size: native } = modelOf(state);
    const { W, H } = state.values;
    return state.source && !W && !H ? { W: null, H: null } : { W: W ?? native, H: H ?? native };
};

function shapeOf(state) {
    const { W, H } = pixelsOf(state);
    return W && SHAPES.find((shape) => Math.abs(Math.log(W / H / ratio(shape))) < CLOSE);
}

function setShape(shape) {
    const model = modelOf(get());
    const size = sizeOf(shape, model);
    const usual = !get().source && size.W === model.native_size && size.H === model.native_size;
    setValues(usual ? { W: undefined, H: undefined } : size);
}

export function SizeField({ fields }) {
    const state = {
        catalogue: useStore((each) => each.catalogue),
        values: useStore((each) => each.values),
        source: useStore((each) => each.source),
    };
    const { W, H } = pixelsOf(state);
    const shape = shapeOf(state);
    const model = modelOf(state);
    const errors = useStore((each) => [...(each.errors.W || []), ...(each.errors.H || [])].join(" "));
    const side = (name) =>
        number(name, { type: "integer", minimum: model.min_size, maximum: model.max_size }, name === "W" ? W : H, {
            id: `field-${name}`,
            name,
            step: model.size_step,
            "aria-label": `${fields[name].title} in pixels`,
            "aria-invalid": errors ? "true" : undefined,
            "aria-describedby": errors ? "size-error" : undefined,
            placeholder: "auto",
        });
    return html`<fieldset class="field" data-field="W">
    <legend>Shape</legend>
    <div class="shapes">
      ${state.source && html`<label class="shape"><input type="radio" name="shape" checked=${W === null} onChange=${() => setValues({ W: undefined, H: undefined })} /><span>as the input</span></label>`}
      ${SHAPES.map(
          (
              each,
          ) => html`<label class="shape"><input type="radio" name="shape" checked=${each === shape} onChange=${() => setShape(each)} />
        <span><i style=${{ aspectRatio: each.replace(":", "/") }} class=${ratio(each) < 1 ? "tall" : ""}></i>${each}</span></label>`,
      )}
    </div>
    <div class="together pixels">${side("W")}
      <button type="button" class="quiet" aria-label="Swap width and height" title="Swap" disabled=${W === null} onClick=${() => setValues({ W: H, H: W })}>⇄</button>
      ${side("H")}<span class="unit">pixels</span></div>
    ${errors && html`<p class="error" id="size-error">${errors}</p>`}
  </fieldset>`;
}
