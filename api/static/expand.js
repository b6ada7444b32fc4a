// How far an image to start from is gone beyond, in pixels at each side.
import { Labelled, number } from "./fields.js";
import { useStore } from "./store.js";
import { setValue } from "./values.js";
import { html } from "./vendor/preact-htm.js";

const SIDES = ["left", "top", "right", "bottom"];

export function ExpandField({ about }) {
    const value = useStore((state) => state.values.expand) ?? {};
    const change = (side, pixels) => {
        const { [side]: _, ...others } = value;
        const next = pixels ? { ...others, [side]: pixels } : others;
        setValue("expand", SIDES.some((each) => next[each]) ? next : undefined);
    };
    const sides = (ties) => html`<div class="together">
        ${SIDES.map((side, place) => number(side, about.parts[side], value[side] || undefined, {
            ...ties,
            id: place ? `${ties.id}-${side}` : ties.id,
            placeholder: side,
            "aria-label": `${about.title}: ${side}, in pixels`,
            onInput: ({ target }) => change(side, Number(target.value)),
        }))}
    </div>`;
    const hint = "Pixels at the left, above, at the right and below.";
    return html`<${Labelled} name="expand" title=${about.title} hint=${hint} control=${sides} />`;
}
