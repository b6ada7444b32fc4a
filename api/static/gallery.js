// Everything this browser has drawn, newest first; found by the words of its prompt and parameters.
import { get, kept, set, useStore } from "./store.js";
import { imagePath, StoredImage } from "./stored-image.js";
import { html, useEffect, useMemo, useRef, useState } from "./vendor/preact-htm.js";

const PAGE = 120; // tiles that are made at a time; more come as one scrolls
const MOST_COMPARED = 4;

export const restoreGallery = () =>
    set({ filter: "", compared: [], viewer: null, comparing: false, more: kept.read("more", false) });

export const view = (job, image) => set({ viewer: { id: job.id, name: image.name } });

// One entry an image: its job, and the image of it.
export function entriesOf(done, filter = "") {
    const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
    return done.flatMap((job) => {
        const { prompt = "", negative_prompt: negative = "", sampler = "", ckpt = "" } = job.parameters || {};
        const entries = (job.images || []).map((image) => ({ job, image, key: `${job.id}/${image.name}` }));
        return entries.filter(({ image }) => {
            const text = `${prompt} ${negative} ${sampler} ${ckpt} ${image.seed}`.toLowerCase();
            return words.every((word) => text.includes(word));
        });
    });
}

export function Gallery() {
    const done = useStore((state) => state.done);
    const filter = useStore((state) => state.filter);
    const entries = useMemo(() => entriesOf(done, filter), [done, filter]);
    const all = useMemo(() => entriesOf(done).length, [done]);
    if (all === 0) return null;
    const find = (event) => set({ filter: event.target.value });
    return html`<section class="gallery" aria-labelledby="gallery-title">
        <header>
            <h2 id="gallery-title">
                Gallery <span class="count">${filter ? `${entries.length} of ${all}` : all}</span>
            </h2>
            <input
                type="search"
                aria-label="Find by prompt, model, sampler or seed"
                placeholder="Find"
                value=${filter}
                onInput=${find}
            />
        </header>
        ${entries.length === 0 && html`<p class="hint">No image has these words.</p>`}
        <${Tiles} entries=${entries} />
        <${Chosen} />
    </section>`;
}

function Tiles({ entries }) {
    const compared = useStore((state) => state.compared);
    const [most, setMost] = useState(PAGE);
    const end = useRef(null);
    const hasMore = entries.length > most;
    useEffect(() => {
        if (!hasMore) return undefined;
        const grow = ([seen]) => seen.isIntersecting && setMost((count) => count + PAGE);
        const watcher = new IntersectionObserver(grow, { rootMargin: "800px" });
        watcher.observe(end.current);
        return () => watcher.disconnect();
    }, [hasMore, most]);
    return html`
        <ul class="tiles">
            ${entries.slice(0, most).map((entry) => html`
                <li key=${entry.key}><${Tile} ...${entry} chosen=${compared.includes(entry.key)} /></li>`)}
        </ul>
        ${hasMore && html`<div ref=${end} class="hint">more …</div>`}`;
}

function Tile({ job, image, chosen }) {
    const key = `${job.id}/${image.name}`;
    const prompt = job.parameters?.prompt || "no prompt";
    const name = `${prompt}, seed ${image.seed}`;
    const choose = ({ target }) => {
        const { compared } = get();
        const others = compared.filter((each) => each !== key);
        set({ compared: target.checked ? [...others, key].slice(-MOST_COMPARED) : others });
    };
    return html`<div class=${`tile ${chosen ? "picked" : ""}`}>
        <button class="open" aria-label=${`Show: ${name}`} onClick=${() => view(job, image)}>
            <${StoredImage} path=${imagePath(job, image.name)} sizes="(max-width: 600px) 45vw, 190px" alt="" />
            <span class="words" aria-hidden="true">${prompt}</span>
        </button>
        <label class="pick">
            <input type="checkbox" checked=${chosen} onChange=${choose} aria-label=${`Compare: ${name}`} />
        </label>
    </div>`;
}

function Chosen() {
    const compared = useStore((state) => state.compared);
    if (compared.length === 0) return null;
    const compare = () => set({ comparing: true });
    return html`<div class="floating" role="region" aria-label="Chosen to compare">
        <span>${compared.length} chosen</span>
        <button class="main small" disabled=${compared.length < 2} onClick=${compare}>Side by side</button>
        <button class="quiet" onClick=${() => set({ compared: [] })}>None</button>
    </div>`;
}
