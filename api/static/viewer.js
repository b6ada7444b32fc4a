// One image large, or several side by side, with all that they were made with and what can be done with them.
import { notify, set, useStore } from "./store.js";
import { entriesOf } from "./gallery.js";
import { remove } from "./jobs.js";
import { copy, Requests } from "./requests.js";
import { fetchImage, imagePath, StoredImage } from "./stored-image.js";
import { setValue, sourceFrom, useParameters } from "./values.js";
import { html, useEffect, useRef } from "./vendor/preact-htm.js";

function Dialog({ label, close, children, ...others }) {
    const element = useRef(null);
    useEffect(() => {
        const dialog = element.current;
        dialog.showModal();
        return () => dialog.close(); // which gives the focus back to where it was
    }, []);
    return html`<dialog ref=${element} aria-label=${label} onClose=${close} onClick=${(event) => event.target === element.current && close()} ...${others}>${children}</dialog>`;
}

export function Viewer() {
    const wanted = useStore((state) => state.viewer);
    const done = useStore((state) => state.done);
    const filter = useStore((state) => state.filter);
    if (!wanted) return null;
    const found = entriesOf(done, filter);
    const same = (entry) => entry.job.id === wanted.id && entry.image.name === wanted.name;
    const entries = found.some(same) ? found : entriesOf(done);
    const at = entries.findIndex(same);
    if (at < 0) return null;
    const go = (by) => {
        const next = entries[at + by];
        if (next) set({ viewer: { id: next.job.id, name: next.image.name } });
    };
    const keys = (event) => {
        if (event.target.matches("textarea, select, input")) return;
        if (event.key === "ArrowLeft") go(-1);
        if (event.key === "ArrowRight") go(1);
    };
    const { job, image } = entries[at];
    const prompt = job.parameters?.prompt || "";
    return html`<${Dialog} label="Image" class="viewer" close=${() => set({ viewer: null })} onKeyDown=${keys}>
    <div class="canvas">
      <${StoredImage} key=${image.name + job.id} path=${imagePath(job, image.name)} alt=${prompt} />
      <button class="round left" aria-label="Newer image" disabled=${at === 0} onClick=${() => go(-1)}>‹</button>
      <button class="round right" aria-label="Older image" disabled=${at === entries.length - 1} onClick=${() => go(1)}>›</button>
    </div>
    <div class="side">
      <div class="top"><span class="hint" aria-live="polite">${at + 1} of ${entries.length}</span><button class="quiet" autofocus onClick=${() => set({ viewer: null })}>Close</button></div>
      <h2 class="prompt">${prompt}</h2>
      <${Actions} job=${job} image=${image} leave=${() => (entries.length > 1 ? go(at ? -1 : 1) : set({ viewer: null }))} />
      <${Parameters} job=${job} image=${image} />
      <${Requests} parameters=${{ ...job.parameters, seed: image.seed }} kind=${job.parameters?.denoising_strength === undefined ? "generate" : "img2img"} />
    </div>
  <//>`;
}

function Actions({ job, image, leave }) {
    const path = imagePath(job, image.name);
    const back = (act, text) => () => {
        act();
        set({ viewer: null });
        notify(text);
    };
    const start = async () => {
        try {
            await sourceFrom(await fetchImage(path), image.name);
            set({ viewer: null });
            notify("The image is the start of the next one.");
        } catch (error) {
            notify(error.message);
        }
    };
    return html`<div class="actions">
    <button class="main small" onClick=${back(() => useParameters({ ...job.parameters, seed: image.seed }), "The form has its parameters.")}>Use all</button>
    <button class="quiet" onClick=${back(() => setValue("seed", image.seed), "The form has its seed.")}>Seed</button>
    <button class="quiet" onClick=${back(() => setValue("prompt", job.parameters.prompt), "The form has its prompt.")}>Prompt</button>
    <button class="quiet" onClick=${start}>Start from it</button>
    <button class="quiet" onClick=${() => download(path, image.name)}>Download</button>
    <button class="quiet" onClick=${() => copy(new URL(path, location.href).href, "The link is copied.")}>Copy link</button>
    <button class="quiet danger" onClick=${() => {
        leave();
        remove(job, job.images.indexOf(image));
    }}>Remove from gallery</button>
  </div>`;
}

async function download(path, name) {
    try {
        const address = URL.createObjectURL(await fetchImage(path));
        Object.assign(document.createElement("a"), { href: address, download: name }).click();
        setTimeout(() => URL.revokeObjectURL(address), 60000);
    } catch (error) {
        notify(error.message);
    }
}

const WORDS = new Map([
    [true, "yes"],
    [false, "no"],
]);
const tell = (value) =>
    value === null || value === "" ? "–" : WORDS.get(value) || (typeof value === "object" ? JSON.stringify(value) : String(value));
// What a form shows comes first, by its name there; the rest, for programs, is folded away.
function Parameters({ job, image }) {
    const { fields, samplers } = useStore((state) => state.catalogue);
    const { warnings = [], prompt: _, ...parameters } = { ...job.parameters, seed: image.seed };
    const titled = ([name]) => fields.img2img[name]?.title;
    const entries = Object.entries(parameters);
    const said = (name, value) =>
        name === "sampler" ? samplers.find((each) => each.name === value)?.label || value : tell(value);
    const row = ([name, value]) => html`<tr key=${name}>
        <th scope="row" title=${name}>${fields.img2img[name]?.title || name}</th><td>${said(name, value)}</td></tr>`;
    const main = entries.filter((entry) => titled(entry) && entry[1] !== null && entry[1] !== "");
    const others = entries.filter((entry) => !main.includes(entry));
    return html`<div>
        ${warnings.map((text) => html`<p class="warning">${text}</p>`)}
        <table class="parameters"><caption class="unseen">Parameters</caption><tbody>
            <tr><th scope="row">Drawn</th><td>${new Date(job.created).toLocaleString()}</td></tr>${main.map(row)}</tbody></table>
        <details class="aside rest"><summary>All the other parameters</summary>
            <table class="parameters"><tbody>${others.map(row)}</tbody></table></details>
    </div>`;
}

export function Comparison() {
    const comparing = useStore((state) => state.comparing);
    const done = useStore((state) => state.done);
    const compared = useStore((state) => state.compared);
    const fields = useStore((state) => state.catalogue?.fields.img2img || {});
    if (!comparing) return null;
    const chosen = entriesOf(done).filter((entry) => compared.includes(entry.key));
    const all = chosen.map(({ job, image }) => ({ ...job.parameters, seed: image.seed, warnings: undefined }));
    const different = Object.keys(Object.assign({}, ...all)).filter(
        (name) => new Set(all.map((each) => JSON.stringify(each[name]))).size > 1,
    );
    return html`<${Dialog} label="Side by side" class="comparison" close=${() => set({ comparing: false })}>
    <div class="top"><h2>Side by side</h2><button class="quiet" autofocus onClick=${() => set({ comparing: false })}>Close</button></div>
    <div class="columns">${chosen.map(
        ({ job, image, key }, at) => html`<figure key=${key}>
      <${StoredImage} path=${imagePath(job, image.name)} alt=${job.parameters?.prompt || ""} />
      <figcaption><table class="parameters"><tbody>${different.map((name) => html`<tr><th scope="row">${fields[name]?.title || name}</th><td>${tell(all[at][name] ?? null)}</td></tr>`)}</tbody></table></figcaption></figure>`,
    )}</div>
    ${different.length === 0 && html`<p class="hint">They were made with the same parameters.</p>`}
  <//>`;
}
