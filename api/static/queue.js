// What is under way: each job with its state, its progress, what it is becoming, and a way to stop it.
import { cancel } from "./jobs.js";
import { asImage, percent, promptOf, shownOf, stateOf } from "./state.js";
import { set, useStore } from "./store.js";
import { html } from "./vendor/preact-htm.js";

export function Bar({ job }) {
    return html`<div
        class=${`bar ${job.state === "PENDING" ? "waiting" : ""}`}
        role="progressbar"
        aria-label="Progress"
        aria-valuemin="0"
        aria-valuemax="100"
        aria-valuenow=${percent(job)}
        aria-valuetext=${stateOf(job)}
    >
        <i style=${{ width: `${percent(job)}%` }} />
    </div>`;
}

export function Queue() {
    const open = useStore((state) => state.open);
    const shown = useStore((state) => shownOf(state)?.id);
    const ready = useStore((state) => state.catalogue);
    if (!ready || open.length === 0 || (open.length === 1 && open[0].id === shown)) return null;
    const stop = () => cancel(open.map((job) => job.id));
    return html`<section class="queue" aria-labelledby="queue-title">
        <header>
            <h2 id="queue-title">Under way <span class="count">${open.length}</span></h2>
            <button class="quiet" onClick=${stop}>Cancel all mine</button>
        </header>
        <ul>
            ${[...open].reverse().map((job) => html`
                <li key=${job.id}><${Entry} job=${job} shown=${job.id === shown} /></li>`)}
        </ul>
    </section>`;
}

function Entry({ job, shown }) {
    return html`<div class=${`job ${shown ? "shown" : ""}`}>
        ${job.preview ? html`<img src=${asImage(job.preview)} alt="" />` : html`<span class="blank"></span>`}
        <button class="name" aria-pressed=${shown} onClick=${() => set({ focus: job.id })}>
            <span class="prompt">${promptOf(job)}</span><span class="state">${stateOf(job)}</span>
        </button>
        <button class="quiet" aria-label=${`Cancel: ${promptOf(job)}`} onClick=${() => cancel([job.id])}>Cancel</button>
        <${Bar} job=${job} />
    </div>`;
}
