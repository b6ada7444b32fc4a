// One parameter of the service's schema as a control, with its hint and what is wrong with it.
import { useStore } from "./store.js";
import { setValue, valueOf } from "./values.js";
import { html } from "./vendor/preact-htm.js";

// What goes with any control: a label that is tied to it, a hint, an error. `control` gets what ties them.
export function Labelled({ name, title, hint, beside, control }) {
    const errors = useStore((state) => state.errors[name]);
    const described = [hint && `${name}-hint`, errors && `${name}-error`].filter(Boolean).join(" ");
    const ties = {
        id: `field-${name}`,
        name,
        "aria-describedby": described || undefined,
        "aria-invalid": errors ? "true" : undefined,
    };
    return html`<div class="field" data-field=${name}>
        <div class="label"><label for=${ties.id}>${title}</label>${beside}</div>
        ${control(ties)}
        ${hint && html`<p class="hint" id=${`${name}-hint`}>${hint}</p>`}
        ${errors && html`<p class="error" id=${`${name}-error`}>${errors.join(" ")}</p>`}
    </div>`;
}

// What the control says by itself needs no hint.
const PLAIN = ["n_iter", "ddim_steps", "format"];

export function Field({ name, about }) {
    const value = useStore((state) => valueOf(state.values, { [name]: about }, name));
    if (about.type === "boolean") return html`<${Flag} name=${name} about=${about} value=${value} />`;
    const control = about.enum ? choice : ["integer", "number"].includes(about.type) ? number : text;
    return html`<${Labelled}
        name=${name}
        title=${about.title}
        hint=${PLAIN.includes(name) ? "" : about.description}
        control=${(ties) => control(name, about, value, ties)}
    />`;
}

function choice(name, about, value, ties) {
    const values = about.enum.filter((each) => each !== null);
    return html`<select value=${value} onChange=${(event) => setValue(name, event.target.value)} ...${ties}>
        ${values.map((each) => html`<option value=${each} selected=${each === value}>${each}</option>`)}
    </select>`;
}

function text(name, about, value, ties) {
    const change = (event) => setValue(name, event.target.value);
    return html`<input type="text" value=${value ?? ""} maxlength=${about.maxLength} onInput=${change} ...${ties} />`;
}

export function number(name, about, value, ties) {
    const change = ({ target }) => setValue(name, target.value === "" ? undefined : Number(target.value));
    return html`<input
        type="number"
        inputmode="decimal"
        value=${value ?? ""}
        min=${about.minimum}
        max=${about.maximum}
        step=${about.type === "integer" ? 1 : "any"}
        onInput=${change}
        ...${ties}
    />`;
}

export function TextArea({ name, about, ...others }) {
    const value = useStore((state) => valueOf(state.values, { [name]: about }, name));
    const change = (event) => setValue(name, event.target.value);
    const area = (ties) =>
        html`<textarea value=${value ?? ""} maxlength=${about.maxLength} onInput=${change} ...${ties} ...${others} />`;
    return html`<${Labelled} name=${name} title=${about.title} control=${area} />`;
}

function Flag({ name, about, value }) {
    const errors = useStore((state) => state.errors[name]);
    const change = (event) => setValue(name, event.target.checked);
    return html`<div class="field flag" data-field=${name}>
        <label><input type="checkbox" id=${`field-${name}`} checked=${value} onChange=${change} />${about.title}</label>
        ${errors && html`<p class="error">${errors.join(" ")}</p>`}
    </div>`;
}
