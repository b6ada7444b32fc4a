// What images were made with, as tables: of one image, and what differs between several.
import { useStore } from "./store.js";
import { html } from "./vendor/preact-htm.js";

const WORDS = new Map([[null, "–"], ["", "–"], [true, "yes"], [false, "no"]]); // prettier-ignore
const tell = (value) => WORDS.get(value) ?? (typeof value === "object" ? JSON.stringify(value) : String(value));

// What makes this one image again; where all of a job began with the same noise, its seed is told by itself.
export function parametersOf({ job, image }) {
    const parameters = { ...job.parameters, seed: image.seed };
    if (!parameters.fixed_code) return parameters;
    return { ...parameters, fixed_code: false, noise_seed: parameters.noise_seed ?? job.parameters.seed };
}

// What an image was drawn with that does not name these: it is older than they are, and a model may have its own.
const IN_OLDER_IMAGES = { schedule: "automatic", accelerator: "none", hires: "off" };

// The same as a request that makes it again.
export const requestOf = (entry) => ({ ...IN_OLDER_IMAGES, ...parametersOf(entry) });

// How a parameter is called, and its value, in the words of the form.
function useWords() {
    const { fields, samplers } = useStore((state) => state.catalogue);
    return {
        title: (name) => fields.img2img[name]?.title,
        value: (name, value) =>
            (name === "sampler" && samplers.find((each) => each.name === value)?.label) || tell(value),
    };
}

function Row({ name, value, words }) {
    return html`<tr>
        <th scope="row" title=${name}>${words.title(name) || name}</th>
        <td>${words.value(name, value)}</td>
    </tr>`;
}

// What a form shows comes first, by its name there; the rest, for programs, is folded away.
export function Parameters({ job, image }) {
    const words = useWords();
    const { warnings = [], prompt: _, ...parameters } = parametersOf({ job, image });
    const entries = Object.entries(parameters);
    const isMain = ([name, value]) => words.title(name) && value !== null && value?.length !== 0; // no empty text or list
    const rows = (some) =>
        some.map(([name, value]) => html`<${Row} key=${name} name=${name} value=${value} words=${words} />`);
    return html`<div>
        ${warnings.map((text) => html`<p class="warning">${text}</p>`)}
        <table class="parameters">
            <caption class="unseen">Parameters</caption>
            <tbody>
                ${!job.imported && html`
                    <tr><th scope="row">Drawn</th><td>${new Date(job.created).toLocaleString()}</td></tr>`}
                ${rows(entries.filter(isMain))}
            </tbody>
        </table>
        <details class="aside">
            <summary>All the other parameters</summary>
            <table class="parameters"><tbody>${rows(entries.filter((entry) => !isMain(entry)))}</tbody></table>
        </details>
    </div>`;
}

export function differences(entries) {
    const all = entries.map(parametersOf);
    const names = Object.keys(Object.assign({}, ...all)).filter((name) => name !== "warnings");
    return names.filter((name) => new Set(all.map((each) => JSON.stringify(each[name]))).size > 1);
}

export function Differences({ entry, names }) {
    const words = useWords();
    const parameters = parametersOf(entry);
    return html`<table class="parameters">
        <tbody>
            ${names.map((name) => html`
                <${Row} key=${name} name=${name} value=${parameters[name] ?? null} words=${words} />`)}
        </tbody>
    </table>`;
}
