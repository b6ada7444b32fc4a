// One parameter of the service's schema as a control, with its hint and what is wrong with it.
import { setValue, valueOf } from "./values.js";
import { useStore } from "./store.js";
import { html } from "./vendor/preact-htm.js";

// What goes with any control: a label that is tied to it, a hint, an error.
export function Labelled({ name, title, hint, beside, control }) {
    const errors = useStore((state) => state.errors[name]);
    const described = [hint && `${name}-hint`, errors && `${name}-error`].filter(Boolean).join(" ");
    return html`<div class="field" data-field=${name}>
    <div class="label"><label for=${`field-${name}`}>${title}</label>${beside}</div>
    ${control({ id: `field-${name}`, name, "aria-describedby": described || undefined, "aria-invalid": errors ? "true" : undefined })}
    ${hint && html`<p class="hint" id=${`${name}-hint`}>${hint}</p>`}
    ${errors && html`<p class="error" id=${`${name}-error`}>${errors.join(" ")}</p>`}
  </div>`;
}

export function Field({ name, about }) {
    const value = useStore((state) => valueOf(state.values, { [name]: about }, name));
    if (about.type === "boolean") return html`<${Flag} name=${name} about=${about} value=${value} />`;
    const hint = name in HINTS ? HINTS[name] : about.description;
    return html`<${Labelled} name=${name} title=${about.title} hint=${hint} control=${(props) => controlFor(name, about, value, props)} />`;
}

// said by the controls themselves
const HINTS = { W: "", H: "", n_iter: "", ddim_steps: "", negative_prompt: "" };

function controlFor(name, about, value, props) {
    if (about.enum) return choice(name, about.enum, value, props);
    if (about.type === "integer" || about.type === "number") return number(name, about, value, props);
    return html`<input type="text" value=${value ?? ""} maxlength=${about.maxLength} onInput=${(event) => setValue(name, event.target.value)} ...${props} />`;
}

function choice(name, values, value, props) {
    return html`<select value=${value} onChange=${(event) => setValue(name, event.target.value)} ...${props}>
    ${values.map((each) => html`<option value=${each} selected=${each === value}>${each}</option>`)}
  </select>`;
}

export function number(name, about, value, props) {
    const change = (event) => setValue(name, event.target.value === "" ? undefined : Number(event.target.value));
    return html`<input type="number" inputmode="decimal" value=${value ?? ""} min=${about.minimum} max=${about.maximum}
    step=${about.type === "integer" ? 1 : "any"} onInput=${change} ...${props} />`;
}

export function TextArea({ name, about, rows, ...others }) {
    const value = useStore((state) => valueOf(state.values, { [name]: about }, name));
    return html`<${Labelled} name=${name} title=${about.title} control=${(
        props,
    ) => html`<textarea rows=${rows} value=${value ?? ""}
    maxlength=${about.maxLength} onInput=${(event) => setValue(name, event.target.value)} ...${props} ...${others}></textarea>`} />`;
}

function Flag({ name, about, value }) {
    const errors = useStore((state) => state.errors[name]);
    return html`<div class="field flag" data-field=${name}>
    <label><input type="checkbox" name=${name} checked=${value} onChange=${(event) => setValue(name, event.target.checked)} />${about.title}</label>
    ${errors && html`<p class="error">${errors.join(" ")}</p>`}
  </div>`;
}
