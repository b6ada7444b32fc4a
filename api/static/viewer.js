// One image large, or several side by side, with what they were made with and what can be done with them.
import { copy, Requests } from "./requests.js";
import { follow } from "./controls.js";
import { Dialog } from "./dialog.js";
import { differences, Differences, Parameters, requestOf } from "./parameters.js";
import { entriesOf, view } from "./gallery.js";
import { fetchImage, imagePath, StoredImage } from "./stored-image.js";
import { remove } from "./jobs.js";
import { notify, set, useStore } from "./store.js";
import { controlnetsFor, imageFrom, setSource, setValue, useParameters } from "./values.js";
import { html } from "./vendor/preact-htm.js";

const close = () => set({ viewer: null });
const promptOf = (job) => job.parameters?.prompt || "";

export function Viewer() {
    const wanted = useStore((state) => state.viewer);
    const done = useStore((state) => state.done);
    const filter = useStore((state) => state.filter);
    const ready = useStore((state) => state.catalogue);
    if (!wanted || !ready) return null;
    const same = ({ job, image }) => job.id === wanted.id && image.name === wanted.name;
    const found = entriesOf(done, filter);
    const entries = found.some(same) ? found : entriesOf(done);
    const at = entries.findIndex(same);
    if (at < 0) return null;
    const go = (by) => entries[at + by] && view(entries[at + by].job, entries[at + by].image);
    const keys = (event) => {
        if (event.target.matches("textarea, select, input")) return;
        if (event.key === "ArrowLeft") go(-1);
        if (event.key === "ArrowRight") go(1);
    };
    const { job, image, key } = entries[at];
    const prompt = promptOf(job);
    const leave = () => (entries.length > 1 ? go(at ? -1 : 1) : close());
    return html`<${Dialog} label="Image" class="viewer" close=${close} onKeyDown=${keys}>
        <div class="canvas">
            <${StoredImage} key=${key} path=${imagePath(job, image.name)} alt=${prompt} />
            <${Turn} side="left" label="Newer image" there=${entries[at - 1]} turn=${() => go(-1)}>‹<//>
            <${Turn} side="right" label="Older image" there=${entries[at + 1]} turn=${() => go(1)}>›<//>
        </div>
        <div class="side">
            <div class="top">
                <span class="hint" aria-live="polite">${at + 1} of ${entries.length}</span>
                <button class="quiet" autofocus onClick=${close}>Close</button>
            </div>
            <h2 class="prompt">${prompt}</h2>
            <${Actions} job=${job} image=${image} leave=${leave} />
            <${Parameters} job=${job} image=${image} />
            <${Requests} parameters=${requestOf(entries[at])} />
        </div>
    <//>`;
}

function Turn({ side, label, there, turn, children }) {
    return html`<button class=${`round ${side}`} aria-label=${label} disabled=${!there} onClick=${turn}>
        ${children}
    </button>`;
}

function Actions({ job, image, leave }) {
    const path = imagePath(job, image.name);
    const take = (act, text) => () => {
        act();
        close();
        notify(text);
    };
    const fromImage = job.parameters?.denoising_strength !== undefined;
    const started = fromImage ? " The image that it started from is not kept: choose it again." : "";
    const followed = job.parameters?.controlnet?.length ? " What it follows is not kept: choose it again." : "";
    const told = `The form has its parameters.${started}${followed}`;
    const useAll = take(() => useParameters(requestOf({ job, image })), told);
    const useSeed = take(() => setValue("seed", image.seed), "The form has its seed.");
    const usePrompt = take(() => setValue("prompt", job.parameters.prompt), "The form has its prompt.");
    const give = (to, text) => async () => {
        try {
            to(await imageFrom(await fetchImage(path), image.name));
            take(() => {}, text)();
        } catch (error) {
            notify(error.message);
        }
    };
    const followIt = (control) => {
        follow(control);
        set({ more: true });
    };
    const canFollow = useStore((state) => controlnetsFor(state).length > 0);
    const link = () => copy(new URL(path, location.href).href, "The link is copied.");
    const drop = () => {
        leave();
        remove(job, image);
    };
    return html`<div class="actions">
        <button class="main small" onClick=${useAll}>Use all</button>
        <button class="quiet" onClick=${useSeed}>Seed</button>
        <button class="quiet" onClick=${usePrompt}>Prompt</button>
        <button class="quiet" onClick=${give(setSource, "The next image starts from this one.")}>Start from it</button>
        ${canFollow && html`
            <button class="quiet" onClick=${give(followIt, "The next image follows this one.")}>Follow it</button>`}
        <button class="quiet" onClick=${() => download(path, image.name)}>Download</button>
        <button class="quiet" onClick=${link}>Copy link</button>
        <button class="quiet danger" onClick=${drop}>Remove from gallery</button>
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

export function Comparison() {
    const comparing = useStore((state) => state.comparing);
    const done = useStore((state) => state.done);
    const compared = useStore((state) => state.compared);
    if (!comparing) return null;
    const stop = () => set({ comparing: false });
    const entries = entriesOf(done).filter((entry) => compared.includes(entry.key));
    const names = differences(entries);
    return html`<${Dialog} label="Side by side" class="comparison" close=${stop}>
        <div class="top"><h2>Side by side</h2><button class="quiet" autofocus onClick=${stop}>Close</button></div>
        <div class="columns">
            ${entries.map((entry) => html`<figure key=${entry.key}>
                <${StoredImage} path=${imagePath(entry.job, entry.image.name)} alt=${promptOf(entry.job)} />
                <figcaption><${Differences} entry=${entry} names=${names} /></figcaption>
            </figure>`)}
        </div>
        ${names.length === 0 && html`<p class="hint">They were made with the same parameters.</p>`}
    <//>`;
}
