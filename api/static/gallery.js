// Everything this browser has drawn, newest first; found by the words of its prompt and parameters.
import { kept, set, useStore } from "./store.js";
import { imagePath, StoredImage } from "./stored-image.js";
import { html, useEffect, useMemo, useRef, useState } from "./vendor/preact-htm.js";

const PAGE = 120; // tiles that are made at a time; more come as one scrolls
const MOST_COMPARED = 4;

// One entry an image: its job, and its place in it.
export function entriesOf(done, filter = "") {
    const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
    const entries = [];
    for (const job of done) {
        if (!job.images?.length) continue;
        const { prompt = "", negative_prompt: negative = "", sampler = "", ckpt = "" } = job.parameters || {};
        for (const [at, image] of job.images.entries()) {
            const text = `${prompt} ${negative} ${sampler} ${ckpt} ${image.seed}`.toLowerCase();
            if (words.every((word) => text.includes(word)))
                entries.push({ job, at, image, key: `${job.id}/${image.name}` });
        }
    }
    return entries;
}

export function Gallery() {
    const done = useStore((state) => state.done);
    const filter = useStore((state) => state.filter);
    const compared = useStore((state) => state.compared);
    const entries = useMemo(() => entriesOf(done, filter), [done, filter]);
    const all = useMemo(() => entriesOf(done).length, [done]);
    const [most, setMost] = useState(PAGE);
    const end = useRef(null);
    useEffect(() => {
        if (!end.current) return undefined;
        const watcher = new IntersectionObserver(([seen]) => seen.isIntersecting && setMost((count) => count + PAGE), {
            rootMargin: "800px",
        });
        watcher.observe(end.current);
        return () => watcher.disconnect();
    }, [entries.length > most]);
    if (all === 0) return null;
    const choose = (key, wanted) =>
        set({ compared: wanted ? [...compared, key].slice(-MOST_COMPARED) : compared.filter((each) => each !== key) });
    return html`<section class="gallery" aria-labelledby="gallery-title">
    <header><h2 id="gallery-title">Gallery <span class="count">${filter ? `${entries.length} of ${all}` : all}</span></h2>
      <input type="search" aria-label="Find by prompt, model, sampler or seed" placeholder="Find" value=${filter} onInput=${(event) => set({ filter: event.target.value })} /></header>
    ${entries.length === 0 && html`<p class="hint">No image has these words.</p>`}
    <ul class="tiles">${entries.slice(0, most).map((entry) => html`<li key=${entry.key}><${Tile} entry=${entry} compared=${compared.includes(entry.key)} choose=${choose} /></li>`)}</ul>
    ${entries.length > most && html`<div ref=${end} class="hint">more …</div>`}
    ${
        compared.length > 0 &&
        html`<div class="floating" role="region" aria-label="Chosen to compare"><span>${compared.length} chosen</span>
      <button class="main small" disabled=${compared.length < 2} onClick=${() => set({ comparing: true })}>Side by side</button>
      <button class="quiet" onClick=${() => set({ compared: [] })}>None</button></div>`
    }
  </section>`;
}

function Tile({ entry: { job, image, key }, compared, choose }) {
    const prompt = job.parameters?.prompt || "no prompt";
    return html`<div class=${`tile ${compared ? "picked" : ""}`}>
    <button class="open" aria-label=${`Show: ${prompt}, seed ${image.seed}`} onClick=${() => set({ viewer: { id: job.id, name: image.name } })}>
      <${StoredImage} path=${imagePath(job, image.name)} sizes="(max-width: 600px) 45vw, 190px" alt="" /><span class="words" aria-hidden="true">${prompt}</span></button>
    <label class="pick"><input type="checkbox" checked=${compared} onChange=${(event) => choose(key, event.target.checked)} aria-label=${`Compare: ${prompt}, seed ${image.seed}`} /></label>
  </div>`;
}

export const restoreGallery = () =>
    set({ filter: "", compared: [], viewer: null, comparing: false, more: kept.read("more", false) });
