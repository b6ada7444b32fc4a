// The newest job large: what it is becoming, then its image.
import { isFinal } from "./events.js";
import { view } from "./gallery.js";
import { cancel } from "./jobs.js";
import { Bar } from "./queue.js";
import { asImage, promptOf, shownOf, stateOf } from "./state.js";
import { imagePath, StoredImage } from "./stored-image.js";
import { announce, get, useStore } from "./store.js";
import { modelOf, setValue } from "./values.js";
import { html, useEffect, useState } from "./vendor/preact-htm.js";

export function Stage() {
    const job = useStore(shownOf);
    const ready = useStore((state) => state.catalogue);
    if (!ready) return null;
    return html`<section class="stage" aria-label="The newest image">
        ${job ? html`<${Shown} key=${job.id} job=${job} />` : html`<${Empty} />`}
    </section>`;
}

function Shown({ job }) {
    const [at, setAt] = useState(0);
    const images = job.images || [];
    const image = images[Math.min(at, images.length - 1)];
    const ended = isFinal(job.state);
    return html`
        <div class="mat"><${Frame} job=${job} image=${image} /></div>
        ${!ended && html`<${Bar} job=${job} />`}
        <div class="caption">
            <div>
                <p class="prompt">${promptOf(job)}</p>
                <p class="state">${stateOf(job)}${image ? ` · seed ${image.seed}` : ""}</p>
            </div>
            <div class="actions">
                ${!ended && html`<button class="quiet" onClick=${() => cancel([job.id])}>Cancel</button>`}
                ${image && html`
                    <button class="quiet" onClick=${() => setValue("seed", image.seed)}>Keep this seed</button>
                    <button class="quiet" onClick=${() => view(job, image)}>Details</button>`}
            </div>
        </div>
        ${images.length > 1 && html`<${Strip} job=${job} image=${image} choose=${setAt} />`}`;
}

// What the image is becoming stays until the image has come in over it.
function Frame({ job, image }) {
    const [preview, setPreview] = useState(null);
    const [loaded, setLoaded] = useState(null);
    useEffect(() => job.preview && setPreview(job.preview), [job.preview]);
    const [width, height] = sizeOf(job);
    const coming = preview && !loaded;
    const label = `Show large: ${promptOf(job)}`;
    const ended = isFinal(job.state);
    return html`<div class="frame" style=${{ aspectRatio: `${width} / ${height}`, "--shape": width / height }}>
        ${coming && html`<img class="preview" src=${asImage(preview)} alt="What the image is becoming" />`}
        ${!preview && !image && html`<div class=${`blank ${ended ? "" : "alive"}`}>${ended && stateOf(job)}</div>`}
        ${image && html`<button class="open" aria-label=${label} onClick=${() => view(job, image)}>
            <${StoredImage}
                key=${image.name}
                path=${imagePath(job, image.name)}
                alt=${promptOf(job)}
                class="final"
                onLoad=${() => setLoaded(true)}
            />
        </button>`}
    </div>`;
}

function sizeOf(job) {
    if (job.size) return job.size;
    const { W, H } = job.parameters || {};
    const native = modelOf({ catalogue: get().catalogue, values: job.parameters || {} }).native_size;
    return [W || native, H || native];
}

function Strip({ job, image, choose }) {
    return html`<div class="strip" role="group" aria-label="Images of this job">
        ${job.images.map((each, at) => html`
            <button
                aria-pressed=${each === image}
                aria-label=${`Image ${at + 1} of ${job.images.length}`}
                onClick=${() => choose(at)}
            >
                <${StoredImage} path=${imagePath(job, each.name)} sizes="72px" alt="" />
            </button>`)}
    </div>`;
}

const IDEAS = ["a red circle on a blue background", "a house and a tree", "a boat on the sea at night"];

function Empty() {
    const take = (prompt) => {
        setValue("prompt", prompt);
        document.querySelector("#field-prompt").focus();
        announce("The prompt is filled in.");
    };
    return html`<div class="empty">
        <h2>What shall it be?</h2>
        <p>Write what you want to see, then press Draw. For a start:</p>
        <div class="ideas">
            ${IDEAS.map((idea) => html`<button class="quiet" onClick=${() => take(idea)}>${idea}</button>`)}
        </div>
    </div>`;
}
