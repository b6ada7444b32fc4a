// The size by its shape: as many pixels as the model was trained with, within what it allows.
import { number } from "./fields.js";
import { get, useStore } from "./store.js";
import { modelOf, setValues } from "./values.js";
import { html } from "./vendor/preact-htm.js";

const SHAPES = ["1:1", "3:2", "2:3", "4:3", "3:4", "16:9", "9:16"];
const CLOSE = 0.06; // sides are multiples of a step, so that small images miss their shape a little
const ratio = (shape) => shape.split(":").reduce((width, height) => width / height);

function sizeOf(shape, model) {
    const root = Math.sqrt(ratio(shape));
    const [width, height] = [model.native_size * root, model.native_size / root];
    const shrink = Math.min(1, model.max_size / Math.max(width, height));
    const allowed = (side) => {
        const step = model.size_step;
        return Math.min(model.max_size, Math.max(model.min_size, Math.round((side * shrink) / step) * step));
    };
    return { W: allowed(width), H: allowed(height) };
}

// Without a choice it is the model's, or follows from the image to start from.
function pixelsOf(state) {
    const { native_size: native } = modelOf(state);
    const { W, H } = state.values;
    return state.source && !W && !H ? { W: null, H: null } : { W: W ?? native, H: H ?? native };
}

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

// Another model draws the same shape, with its own number of pixels.
export function keepShape(change) {
    const shape = shapeOf(get());
    change();
    if (shape) setShape(shape);
}

export function SizeField({ fields }) {
    const catalogue = useStore((state) => state.catalogue);
    const values = useStore((state) => state.values);
    const source = useStore((state) => state.source);
    const errors = [useStore((state) => state.errors.W), useStore((state) => state.errors.H)].flat().filter(Boolean);
    const state = { catalogue, values, source };
    const { W, H } = pixelsOf(state);
    const shape = shapeOf(state);
    const model = modelOf(state);
    const inTwo = (values.hires ?? model.hires) === "auto" && !source;
    const pixels = inTwo ? model.max_hires_size ** 2 : model.max_pixels;
    const most = Math.floor(pixels / model.min_size / model.size_step) * model.size_step; // beside the shortest side
    const follow = () => setValues({ W: undefined, H: undefined });
    const swap = () => setValues({ W: H, H: W });
    const side = (name, value) =>
        number(name, { type: "integer", minimum: model.min_size, maximum: most }, value, {
            id: `field-${name}`,
            name,
            step: model.size_step,
            placeholder: "auto",
            "aria-label": `${fields[name].title} in pixels`,
            "aria-invalid": errors.length ? "true" : undefined,
            "aria-describedby": errors.length ? "size-error" : undefined,
        });
    return html`<fieldset class="field" data-field="W">
        <legend>Shape</legend>
        <div class="shapes">
            ${source && html`<${Shape} checked=${W === null} choose=${follow}>as the input<//>`}
            ${SHAPES.map((each) => html`
                <${Shape} key=${each} checked=${each === shape} choose=${() => setShape(each)}>
                    <i style=${{ aspectRatio: each.replace(":", "/") }} class=${ratio(each) < 1 ? "tall" : ""} />${each}
                <//>`)}
        </div>
        <div class="together pixels">
            ${side("W", W)}
            <button type="button" class="quiet" disabled=${!W} onClick=${swap} aria-label="Swap width and height">
                <span aria-hidden="true">⇄</span>
            </button>
            ${side("H", H)}<span class="unit">pixels</span>
        </div>
        ${errors.length > 0 && html`<p class="error" id="size-error">${errors.join(" ")}</p>`}
    </fieldset>`;
}

function Shape({ checked, choose, children }) {
    return html`<label class="shape">
        <input type="radio" name="shape" checked=${checked} onChange=${choose} /><span>${children}</span>
    </label>`;
}
