// The image to start from: dropped, pasted or chosen, and how far to leave it.
import { Labelled } from "./fields.js";
import { MaskField } from "./mask.js";
import { notify, useStore } from "./store.js";
import { setSource, setValue, sourceFrom, valueOf } from "./values.js";
import { html, useState } from "./vendor/preact-htm.js";

const STRENGTH = "denoising_strength";

export async function takeSource(file) {
    try {
        await sourceFrom(file, file.name || "pasted image");
    } catch (error) {
        notify(error.message);
    }
}

export const imageIn = (transfer) => [...(transfer?.files || [])].find((file) => file.type.startsWith("image/"));

export function SourceField({ fields }) {
    const source = useStore((state) => state.source);
    const errors = useStore((state) => state.errors.init_img);
    const [over, setOver] = useState(false);
    const drop = (event) => {
        event.preventDefault();
        event.stopPropagation(); // elsewhere on the page a dropped image is read for its parameters
        setOver(false);
        const file = imageIn(event.dataTransfer);
        if (file) takeSource(file);
        else notify("That is not an image.");
    };
    const hover = (event) => {
        event.preventDefault();
        setOver(true);
    };
    return html`<div
        class=${`field source ${over ? "over" : ""}`}
        data-field="init_img"
        onDrop=${drop}
        onDragOver=${hover}
        onDragLeave=${() => setOver(false)}
    >
        ${source && html`
            <${Chosen} source=${source} />
            <${MaskField} source=${source} fields=${fields} />
            <${Strength} fields=${fields} />`}
        ${!source && html`<${Choose} fields=${fields} />`}
        ${errors && html`<p class="error">${errors.join(" ")}</p>`}
    </div>`;
}

function Choose({ fields }) {
    const choose = ({ target }) => target.files[0] && takeSource(target.files[0]);
    return html`<label class="choose">
        <input type="file" id="field-init_img" accept="image/*" onChange=${choose} />
        <span><strong>${fields.init_img.title}</strong> drop it here, paste it, or choose a file</span>
    </label>`;
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
