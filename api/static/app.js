// Puts the page together: what it begins with, what concerns all of it, and where its parts stand.
import { hasKey, loadCatalogue, loadModels, useKey } from "./api.js";
import { Dialog } from "./dialog.js";
import { draw, Form } from "./form.js";
import { Gallery, restoreGallery } from "./gallery.js";
import { imageIn } from "./image-input.js";
import { importRecent, restore } from "./jobs.js";
import { metadataOf } from "./metadata.js";
import { Notice } from "./notice.js";
import { Queue } from "./queue.js";
import { takeSource } from "./source.js";
import { Stage } from "./stage.js";
import { titleOf } from "./state.js";
import { get, notify, set, useStore } from "./store.js";
import { restoreForm, useParameters } from "./values.js";
import { Comparison, Viewer } from "./viewer.js";
import { html, render, useEffect } from "./vendor/preact-htm.js";

const MODELS_KEPT_MS = 30000;

function App() {
    return html`
        <a class="skip" href="#field-prompt">To the prompt</a>
        <${Title} />
        <header class="head">
            <h1>Personal Diffusion</h1>
            <${Connection} />
            <nav>
                <a href="/docs">API</a>
                <button class="quiet" onClick=${() => set({ asksForKey: true })}>Key</button>
            </nav>
        </header>
        <main>
            <div class="panel"><${Form} /></div>
            <div class="view"><${Stage} /><${Queue} /><${Gallery} /></div>
        </main>
        <${Viewer} /><${Comparison} /><${KeyDialog} /><${Notice} />
        <div class="unseen" role="status" aria-live="polite"><${Announcement} /></div>`;
}

// The title of the tab tells how far everything is.
function Title() {
    const title = useStore((state) => titleOf(state.open));
    useEffect(() => {
        document.title = title;
    }, [title]);
    return null;
}

function Connection() {
    const away = useStore((state) => state.away);
    return html`<p class="connection" role="status">${away && "The server is away. Trying again …"}</p>`;
}

function Announcement() {
    return useStore((state) => state.announcement) || null;
}

function KeyDialog() {
    const asks = useStore((state) => state.asksForKey);
    if (!asks) return null;
    const close = () => set({ asksForKey: false });
    const take = (event) => {
        event.preventDefault();
        const { key, remember } = event.target.elements;
        useKey(key.value.trim(), remember.checked);
        begin();
    };
    return html`<${Dialog} label="The key" class="key" close=${close}>
        <form onSubmit=${take}>
            <h2>Key</h2>
            ${asks !== true && html`<p class="error" role="alert">${asks}</p>`}
            <p class="hint">Whoever runs this service gives it to you. It is sent to this service alone.</p>
            <div class="field">
                <label for="key">Key</label>
                <input id="key" name="key" type="password" autocomplete="off" autofocus />
            </div>
            <label class="flag"><input type="checkbox" name="remember" />Remember it in this browser</label>
            <div class="actions">
                <button class="main small">Use it</button>
                <button type="button" class="quiet" onClick=${close}>Not now</button>
            </div>
        </form>
    <//>`;
}

async function begin() {
    try {
        set({ catalogue: await loadCatalogue(), loadError: null });
        if (hasKey()) await importRecent();
    } catch (error) {
        if (!get().catalogue) {
            set({ loadError: error.message });
            setTimeout(begin, 3000);
        }
    }
}

// Workers come and go, and with them what can be chosen.
async function refreshModels() {
    if (document.hidden || get().away || !get().catalogue) return;
    const models = await loadModels().catch(() => null);
    if (models) set({ catalogue: { ...get().catalogue, ...models } });
}

// A dropped image fills the form with what it was made with; one that does not tell is a start.
async function takeDropped(file) {
    let found = null;
    try {
        found = get().catalogue && (await metadataOf(file));
    } catch (error) {
        notify(error.message);
        return;
    }
    if (!found) {
        await takeSource(file);
        notify("The image does not tell what it was made with. It is the start of the next one.");
        return;
    }
    useParameters(found.parameters);
    const lacking = found.warnings.length ? ` ${found.warnings.join(" ")}` : "";
    notify(`The form has the parameters of the image.${lacking}`, [
        { label: "Draw it again", act: draw },
        { label: "Start from it", act: () => takeSource(file) },
    ]);
}

addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
    event.preventDefault();
    const file = imageIn(event.dataTransfer);
    if (file) takeDropped(file);
});
addEventListener("paste", (event) => {
    const file = imageIn(event.clipboardData);
    if (file) takeSource(file);
});

set({ open: [], done: [], notice: null });
restoreForm();
restoreGallery();
restore();
render(html`<${App} />`, document.querySelector("#app"));
begin();
setInterval(refreshModels, MODELS_KEPT_MS);
