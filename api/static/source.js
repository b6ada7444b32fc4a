// The image to start from, and how far to leave it.
import { Labelled } from "./fields.js";
import { ChooseImage, Droppable } from "./image-input.js";
import { MaskField } from "./mask.js";
import { notify, useStore } from "./store.js";
import { imageFrom, setSource, setValue, valueOf } from "./values.js";
import { html } from "./vendor/preact-htm.js";

const STRENGTH = "denoising_strength";

export async function takeSource(file) {
    try {
        setSource(await imageFrom(file, file.name || "pasted image"));
    } catch (error) {
        notify(error.message);
    }
}

export function SourceField({ fields }) {
    const source = useStore((state) => state.source);
    const errors = useStore((state) => state.errors.init_img);
    return html`<${Droppable} class="source" data-field="init_img" take=${takeSource}>
        ${source && html`
            <${Chosen} source=${source} />
            <${MaskField} source=${source} fields=${fields} />
            <${Strength} fields=${fields} />`}
        ${!source && html`<${ChooseImage} id="field-init_img" title=${fields.init_img.title} take=${takeSource} />`}
        ${errors && html`<p class="error">${errors.join(" ")}</p>`}
    <//>`;
}

function Chosen({ source }) {
    const mask = useStore((state) => state.mask);
    return html`<div class="chosen">
        <div class="covered">
            <img src=${source.data} alt=${`The image to start from: ${source.name}`} />
            ${mask && html`<img class="cover" src=${mask.painted} alt="The part of it that is redrawn" />`}
        </div>
        <div class="about">
            <span>${source.width} × ${source.height}</span>
            <button type="button" class="quiet" onClick=${() => setSource(null)}>Remove</button>
        </div>
    </div>`;
}

function Strength({ fields }) {
    const strength = useStore((state) => valueOf(state.values, fields, STRENGTH));
    const change = (event) => setValue(STRENGTH, Number(event.target.value));
    const control = (ties) => html`
        <input
            type="range"
            min="0.05"
            max="1"
            step="0.05"
            value=${strength}
            aria-valuetext=${`${strength}, ${inWords(strength)}`}
            onInput=${change}
            ...${ties}
        />
        <div class="ends" aria-hidden="true"><span>keeps the image</span><span>starts anew</span></div>`;
    const beside = html`<output for=${`field-${STRENGTH}`}>${strength}</output>`;
    return html`<${Labelled} name=${STRENGTH} title=${fields[STRENGTH].title} beside=${beside} control=${control} />`;
}

function inWords(strength) {
    if (strength < 0.35) return "keeps the image";
    if (strength < 0.7) return "changes it";
    return strength < 1 ? "keeps the outlines" : "starts anew";
}
