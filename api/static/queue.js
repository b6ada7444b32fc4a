// What is under way: the newest job large, with what it is becoming, and the others in a list.
import { cancel, seconds_of } from "./jobs.js";
import { announce, get, set, useStore } from "./store.js";
import { imagePath, StoredImage } from "./stored-image.js";
import { modelOf, setValue } from "./values.js";
import { html, useEffect, useState } from "./vendor/preact-htm.js";

const percent = (job) => Math.round((job.progress || 0) * 100);
const minutes = (seconds) =>
    seconds < 90 ? `${Math.max(1, Math.round(seconds))} s` : `${Math.round(seconds / 60)} min`;

export function stateOf(job) {
    if (job.state === "PENDING") {
        const place = job.position ? `Waiting, place ${job.position}` : "Waiting";
        return job.eta ? `${place}, about ${minutes(job.eta)}` : place;
    }
    if (job.state === "PROGRESS") {
        if (!job.steps) return job.status || "Beginning";
        const left = job.eta && percent(job) < 100 ? `, ${minutes(job.eta)} left` : "";
        return `Step ${job.step} of ${job.steps}${left}`;
    }
    if (job.state === "SUCCESS") return seconds_of(job) ? `Done in ${seconds_of(job)} s` : "Done";
    if (job.state === "REVOKED") return "Cancelled";
    return job.error?.error || job.status || "Failed";
}

const promptOf = (job) => job.parameters?.prompt || "";
const shapeOf = (job) => {
    if (job.size) return job.size;
    const { W, H } = job.parameters || {};
    const native = modelOf({ catalogue: get().catalogue, values: job.parameters || {} }).native_size;
    return [W || native, H || native];
};

export function Bar({ job }) {
    return html`<div class=${`bar ${job.state === "PENDING" ? "waiting" : ""}`} role="progressbar" aria-label="Progress" aria-valuemin="0" aria-valuemax="100"
    aria-valuenow=${percent(job)} aria-valuetext=${stateOf(job)}><i style=${{ width: `${percent(job)}%` }}></i></div>`;
}

// The job that is shown large: the chosen one; while that waits, one that is being drawn.
function shownOf({ open, done, focus }) {
    const chosen = [...open, ...done].find((job) => job.id === focus);
    if (chosen && chosen.state !== "PENDING") return chosen;
    const drawn = open.findLast((job) => job.state === "PROGRESS");
    return drawn || chosen || open[0] || done.find((job) => job.images?.length) || null;
}

export function Stage() {
    const job = useStore(shownOf);
    const ready = useStore((state) => state.catalogue);
    if (!ready) return null;
    return html`<section class="stage" aria-label="The newest image">${job ? html`<${Shown} key=${job.id} job=${job} />` : html`<${Empty} />`}</section>`;
}

function Shown({ job }) {
    const [at, setAt] = useState(0);
    const [loaded, setLoaded] = useState("");
    const images = job.images || [];
    const image = images[Math.min(at, images.length - 1)];
    const [width, height] = shapeOf(job);
    const ended = !["PENDING", "PROGRESS"].includes(job.state);
    // what it was becoming stays until the image has come in over it
    const [preview, setPreview] = useState(null);
    useEffect(() => job.preview && setPreview(job.preview), [job.preview]);
    const index = image && get().done.indexOf(job);
    return html`
    <div class="mat"><div class="frame" style=${{ aspectRatio: `${width} / ${height}`, "--shape": width / height }}>
      ${preview && loaded !== image?.name && html`<img class="preview" src=${`data:image/jpeg;base64,${preview}`} alt="What the image is becoming" />`}
      ${!preview && !image && html`<div class=${`blank ${ended ? "" : "alive"}`}>${ended ? stateOf(job) : ""}</div>`}
      ${
          image &&
          html`<button class="open" aria-label=${`Show large: ${promptOf(job)}`} onClick=${() => set({ viewer: { id: job.id, name: image.name } })}>
        <${StoredImage} key=${image.name} path=${imagePath(job, image.name)} alt=${promptOf(job)} class="final" onLoad=${() => setLoaded(image.name)} /></button>`
      }
    </div></div>
    ${!ended && html`<${Bar} job=${job} />`}
    <div class="caption">
      <div><p class="prompt">${promptOf(job)}</p><p class="state">${stateOf(job)}${image ? ` · seed ${image.seed}` : ""}</p></div>
      <div class="actions">
        ${!ended && html`<button class="quiet" onClick=${() => cancel([job.id])}>Cancel</button>`}
        ${image && html`<button class="quiet" onClick=${() => setValue("seed", image.seed)}>Keep this seed</button>`}
        ${image && index >= 0 && html`<button class="quiet" onClick=${() => set({ viewer: { id: job.id, name: image.name } })}>Details</button>`}
      </div>
    </div>
    ${
        images.length > 1 &&
        html`<div class="strip" role="group" aria-label="Images of this job">${images.map(
            (each, place) => html`
      <button aria-pressed=${each === image} aria-label=${`Image ${place + 1} of ${images.length}`} onClick=${() => setAt(place)}>
        <${StoredImage} path=${imagePath(job, each.name)} sizes="72px" alt="" /></button>`,
        )}</div>`
    }`;
}

const IDEAS = ["a red circle on a blue background", "a house and a tree", "a boat on the sea at night"];

function Empty() {
    const take = (prompt) => {
        setValue("prompt", prompt);
        document.querySelector("#field-prompt").focus();
        announce("The prompt is filled in.");
    };
    return html`<div class="empty"><h2>What shall it be?</h2><p>Write what you want to see, then press Draw. For a start:</p>
    <div class="ideas">${IDEAS.map((idea) => html`<button class="quiet" onClick=${() => take(idea)}>${idea}</button>`)}</div></div>`;
}

export function Queue() {
    const open = useStore((state) => state.open);
    const shown = useStore((state) => shownOf(state)?.id);
    const ready = useStore((state) => state.catalogue);
    if (!ready || open.length === 0 || (open.length === 1 && open[0].id === shown)) return null;
    return html`<section class="queue" aria-labelledby="queue-title">
    <header><h2 id="queue-title">Under way <span class="count">${open.length}</span></h2>
      <button class="quiet" onClick=${() => cancel(open.map((job) => job.id))}>Cancel all mine</button></header>
    <ul>${open.map((job) => html`<li key=${job.id}><${Row} job=${job} shown=${job.id === shown} /></li>`)}</ul>
  </section>`;
}

function Row({ job, shown }) {
    return html`<div class=${`job ${shown ? "shown" : ""}`}>
    ${job.preview ? html`<img src=${`data:image/jpeg;base64,${job.preview}`} alt="" />` : html`<span class="blank"></span>`}
    <button class="name" aria-pressed=${shown} onClick=${() => set({ focus: job.id })}><span class="prompt">${promptOf(job)}</span><span class="state">${stateOf(job)}</span></button>
    <button class="quiet" aria-label=${`Cancel: ${promptOf(job)}`} onClick=${() => cancel([job.id])}>Cancel</button>
    <${Bar} job=${job} />
  </div>`;
}

// The title of the tab tells how far all of it is.
export function titleOf(open) {
    const running = open.filter((job) => job.state === "PROGRESS");
    const others = open.length - running.length;
    if (running.length) return `${percent(running[0])} %${others ? ` (+${others})` : ""} · Personal Diffusion`;
    return open.length ? `${open.length} waiting · Personal Diffusion` : "Personal Diffusion";
}
