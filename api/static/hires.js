// Large images in two passes: as the model has it, by the page's size, or an image that is enlarged and drawn again.
import { Labelled, number } from "./fields.js";
import { useStore } from "./store.js";
import { UpscalerChoice } from "./upscalers.js";
import { modelOf, setValue } from "./values.js";
import { html } from "./vendor/preact-htm.js";

const ENLARGED = "enlarged";
const LATENT = [{ name: "latent", label: "Latent" }];
const AS_USUAL = { auto: "As usual here: in two passes where it is large", off: "As usual here: in one pass" };
const WAYS = { auto: "In two passes where it is large", off: "In one pass", [ENLARGED]: "Enlarged and drawn again" };

export function HiresField({ about }) {
    const catalogue = useStore((state) => state.catalogue);
    const values = useStore((state) => state.values);
    const source = useStore((state) => state.source);
    if (source) return null; // an image to image has one pass
    const { hires } = values;
    const way = typeof hires === "object" ? ENLARGED : (hires ?? "");
    const choose = ({ target }) => setValue("hires", target.value === ENLARGED ? { scale: 2 } : target.value);
    const usual = AS_USUAL[modelOf({ catalogue, values }).hires];
    const select = (ties) => html`<select value=${way} onChange=${choose} ...${ties}>
        <option value="" selected=${way === ""}>${usual}</option>
        ${Object.entries(WAYS).map(([name, label]) => html`
            <option value=${name} selected=${name === way}>${label}</option>`)}
    </select>`;
    return html`<div>
        <${Labelled} name="hires" title=${about.title} control=${select} />
        ${way === ENLARGED && html`<${Enlarged} about=${partsOf(about)} value=${hires} />`}
    </div>`;
}

const partsOf = (about) => about.oneOf.find((each) => each.properties).properties;

// What an object says: how much larger than the shape above, by what, and how far the second pass leaves the first.
function Enlarged({ about, value }) {
    const change = (name, each) => setValue("hires", { ...value, [name]: each || undefined });
    const field = (name, title) => html`<div class="field">
        <div class="label"><label for=${`field-hires-${name}`}>${title}</label></div>
        ${number(name, about[name], value[name], {
            id: `field-hires-${name}`,
            onInput: ({ target }) => change(name, Number(target.value)),
        })}
    </div>`;
    const { first_width: width, first_height: height } = value;
    return html`<div class="inline">
        ${width ? html`<p class="hint">Drawn first at ${width} x ${height} pixels.</p>` : field("scale", "Times as large")}
        ${field("strength", "Strength of the second pass")}
        <div class="field">
            <div class="label"><label for="field-hires-upscaler">Enlarged by</label></div>
            <${UpscalerChoice}
                chosen=${value.upscaler ?? about.upscaler.default}
                choose=${(name) => change("upscaler", name)}
                beside=${LATENT}
                ties=${{ id: "field-hires-upscaler" }}
            />
        </div>
    </div>`;
}
