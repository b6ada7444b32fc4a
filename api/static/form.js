// The form: prompt first, the rest behind one switch. All of it comes from the service's schema.
import { ModelField, SamplerField, SeedField } from "./choices.js";
import { ControlsField } from "./controls.js";
import { ExpandField } from "./expand.js";
import { Field, TextArea } from "./fields.js";
import { HiresField } from "./hires.js";
import { submit } from "./jobs.js";
import { AcceleratorField, LorasField } from "./loras.js";
import { MASK_FIELDS } from "./mask.js";
import { PairField } from "./pairs.js";
import { SizeField } from "./size.js";
import { SourceField } from "./source.js";
import { get, kept, notify, set, useStore } from "./store.js";
import { UpscalerField } from "./upscalers.js";
import { bodyOf, kindOf, setControls, setValues, valueOf } from "./values.js";
import { html } from "./vendor/preact-htm.js";

const ONE_COLUMN = "(max-width: 900px)";
const HAS_KEYBOARD = "(hover: hover)"; // on a phone the focus would cover half of the page with one
// these have a place of their own; all the others stand behind the switch
const FIRST = ["prompt", "init_img", "denoising_strength", "ckpt", "W", "H", "n_iter", ...MASK_FIELDS];
const SPECIAL = {
    sampler: SamplerField, seed: SeedField, loras: LorasField, accelerator: AcceleratorField,
    negative_prompt: NegativePrompt, hires: HiresField, controlnet: ControlsField,
    upscaler: UpscalerField, expand: ExpandField,
    original_size: PairField, crops_coords_top_left: PairField, target_size: PairField,
}; // prettier-ignore

export async function draw() {
    const state = get();
    if (state.sending || !state.catalogue) return;
    set({ sending: true, errors: {} });
    try {
        await submit(kindOf(state), bodyOf(state));
        if (matchMedia(ONE_COLUMN).matches) document.querySelector(".stage")?.scrollIntoView({ behavior: "smooth" });
    } catch (error) {
        refuse(error);
    } finally {
        set({ sending: false });
    }
}

// Puts what is wrong beside its field; what has no field here is said at the button.
function refuse(error) {
    const fields = get().catalogue.fields[kindOf(get())];
    const entries = Object.entries(error.fields || {}).map(([name, texts]) => [name, texts.map(counted)]);
    const marked = entries.filter(([name]) => fields[name]?.title);
    const unmarked = entries.filter((entry) => !marked.includes(entry));
    const others = unmarked.map(([name, texts]) => `${name}: ${texts.join(" ")}`);
    const whole = marked.length && !others.length ? "Look at what is marked above." : error.message;
    set({ errors: { ...Object.fromEntries(marked), "": [whole, ...others] } });
    const [first] = marked[0] || [];
    if (first && !FIRST.includes(first)) set({ more: true });
    setTimeout(() => document.querySelector(first ? `#field-${first}` : "#draw")?.focus());
}

// Entries of lists count from 0 on the wire, and from 1 for people.
const counted = (text) => text.replace(/^\[(\d+)\]\.?/, (_, place) => `No. ${Number(place) + 1}, `);

export function Form() {
    const catalogue = useStore((state) => state.catalogue);
    const source = useStore((state) => state.source);
    const failed = useStore((state) => state.loadError);
    if (!catalogue) return html`<p class="hint" role="status">${failed || "Asking the server what it can do …"}</p>`;
    const fields = catalogue.fields[kindOf({ source })];
    const send = (event) => {
        event.preventDefault();
        draw();
    };
    const keys = (event) => {
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) send(event);
    };
    return html`<form onSubmit=${send} onKeyDown=${keys} novalidate aria-label="What to draw">
        <${TextArea}
            name="prompt"
            about=${fields.prompt}
            rows="4"
            placeholder="What do you want to see?"
            autofocus=${matchMedia(HAS_KEYBOARD).matches}
        />
        <${Notation} />
        <${SourceField} fields=${catalogue.fields.img2img} />
        <${SizeField} fields=${fields} />
        <${ModelField} about=${fields.ckpt} />
        <div class="inline"><${Field} name="n_iter" about=${fields.n_iter} /></div>
        <${More} fields=${fields} />
        <${Send} />
    </form>`;
}

function NegativePrompt({ about }) {
    return html`<${TextArea} name="negative_prompt" about=${about} rows="2" placeholder="what to keep away from" />`;
}

function Notation() {
    const { others } = useStore((state) => state.catalogue);
    const embeddings = others.filter((each) => each.kind === "embedding").map((each) => each.name);
    return html`<details class="aside">
        <summary>Weights in a prompt</summary>
        <p>
            <code>(word)</code> counts 1.1 times, <code>(word:1.3)</code> 1.3 times, <code>[word]</code> less. ${" "}
            <code>a cat:0.25 a duck:0.75</code> blends two prompts.
        </p>
        ${embeddings.length > 0 && html`<p>Embeddings that a prompt can name: ${embeddings.join(", ")}.</p>`}
    </details>`;
}

function More({ fields }) {
    const open = useStore((state) => state.more);
    const sampler = useStore((state) => valueOf(state.values, fields, "sampler"));
    const { samplers } = get().catalogue;
    const usesEta = samplers.find((each) => each.name === sampler || each.aliases.includes(sampler))?.uses_eta;
    const shown = (name) => fields[name].title && !FIRST.includes(name) && (name !== "ddim_eta" || usesEta);
    const toggle = (event) => {
        kept.write("more", event.target.open);
        set({ more: event.target.open });
    };
    return html`<details class="more" open=${open} onToggle=${toggle}>
        <summary>More settings</summary>
        ${Object.keys(fields)
            .filter(shown)
            .map((name) => html`<${SPECIAL[name] || Field} key=${name} name=${name} about=${fields[name]} />`)}
        <button type="button" class="quiet" onClick=${reset}>Back to the defaults</button>
    </details>`;
}

function reset() {
    const { controls, values } = get();
    const { prompt: _, ...before } = values;
    const undo = () => {
        setValues(before);
        setControls(controls);
    };
    setControls([]);
    setValues(Object.fromEntries(Object.keys(before).map((name) => [name, undefined])));
    notify("Everything but the prompt has its default.", [{ label: "Undo", act: undo }]);
}

function Send() {
    const sending = useStore((state) => state.sending);
    const wrong = useStore((state) => state.errors[""]);
    return html`<div class="send">
        ${wrong && html`<div class="error" role="alert">${wrong.map((text) => html`<p>${text}</p>`)}</div>`}
        <button id="draw" class="main" disabled=${sending}>
            ${sending ? "Sending …" : "Draw"}<kbd aria-hidden="true">Ctrl ↵</kbd>
        </button>
    </div>`;
}
