// The pairs of numbers that Stable Diffusion XL is told beside the text: sizes, and where an image was cut out.
import { Labelled, number } from "./fields.js";
import { useStore } from "./store.js";
import { isToldSizes, modelOf, setValue } from "./values.js";
import { html } from "./vendor/preact-htm.js";

const PLACES = ["Top", "Left"];
const SIDES = ["Height", "Width"];

export function PairField({ name, about }) {
    const catalogue = useStore((state) => state.catalogue);
    const values = useStore((state) => state.values);
    const model = modelOf({ catalogue, values });
    if (!isToldSizes(model)) return null;
    const { native_size: native } = model;
    const usual = about.default ?? [values.H ?? native, values.W ?? native];
    const value = values[name];
    const change = (place, text) => {
        const changed = [...(value ?? usual)];
        changed[place] = Number(text);
        setValue(name, text === "" ? undefined : changed);
    };
    const words = about.default ? PLACES : SIDES;
    const pair = (ties) => html`<div class="together">
        ${words.map((word, place) => number(name, { type: "integer", ...about.items }, value?.[place], {
            ...ties,
            id: place ? `${ties.id}-${place}` : ties.id,
            placeholder: usual[place],
            "aria-label": `${about.title}: ${word.toLowerCase()} in pixels`,
            onInput: ({ target }) => change(place, target.value),
        }))}
    </div>`;
    return html`<${Labelled} name=${name} title=${about.title} hint=${about.description} control=${pair} />`;
}
