// What enlarges images, to be chosen: filters, and the networks that are here.
import { Labelled } from "./fields.js";
import { useStore } from "./store.js";
import { setValue, valueOf } from "./values.js";
import { html } from "./vendor/preact-htm.js";

// One that is chosen and cannot be used here keeps its name: nothing else takes its place. `beside` come first.
export function UpscalerChoice({ chosen, choose, beside = [], ties }) {
    const listed = useStore((state) => state.catalogue.upscalers).filter((each) => each.available);
    const usable = [...beside, ...listed];
    const known = usable.some(({ name }) => name === chosen);
    return html`<select onChange=${({ target }) => choose(target.value)} ...${ties}>
        ${!known && html`<option value=${chosen} selected>${chosen} (not here)</option>`}
        ${usable.map(({ name, label }) => html`
            <option key=${name} value=${name} selected=${name === chosen}>${label}</option>`)}
    </select>`;
}

export function UpscalerField({ about }) {
    const chosen = useStore((state) => valueOf(state.values, { upscaler: about }, "upscaler"));
    const choose = (name) => setValue("upscaler", name);
    const control = (ties) => html`<${UpscalerChoice} chosen=${chosen} choose=${choose} ties=${ties} />`;
    const hint = "For a result of another size than it is drawn.";
    return html`<${Labelled} name="upscaler" title=${about.title} hint=${hint} control=${control} />`;
}
