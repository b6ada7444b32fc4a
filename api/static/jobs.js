// The jobs of this browser: those that wait or run, and those that have images. Both survive a reload.
import * as api from "./api.js";
import { follow, isFinal } from "./events.js";
import { announce, get, kept, notify, set } from "./store.js";

const PREFIX = "job:";
const MOST_JOBS = 500;
const REMOVED = "removed";

const newestFirst = (jobs) => jobs.sort((one, other) => other.created - one.created);

export function restore() {
    const jobs = newestFirst(
        kept
            .names(PREFIX)
            .map((name) => kept.read(name))
            .filter((job) => job?.id),
    );
    set({ open: jobs.filter((job) => !isFinal(job.state)), done: jobs.filter((job) => isFinal(job.state)) });
    for (const job of get().open) watch(job.id);
    // another tab of this browser
    addEventListener("storage", ({ key, newValue }) => {
        if (!key?.startsWith(PREFIX) || !newValue) return;
        const job = JSON.parse(newValue);
        if (isFinal(job.state)) show(job);
    });
}

// Takes over what the service still has of this key, such as what another browser asked for.
export async function importRecent() {
    const removed = kept.read(REMOVED, []);
    const known = (id) => [...get().open, ...get().done].find((job) => job.id === id);
    let before = Date.now() - 60000; // the service does not say when they were drawn, only in which order
    for (const id of await api.recentIds()) {
        const isOld = removed.includes(id) || known(id);
        const told = isOld ? null : await api.status(id).catch(() => null);
        if (told && !known(id)) receive({ id, created: before - 1, state: "PENDING", imported: true }, told);
        before = Math.min(before, known(id)?.created ?? before);
    }
}

export async function submit(kind, body) {
    const accepted = await api.submit(`/${kind}`, body);
    const { init_img: _image, mask, controlnet, ...others } = body;
    const controls = controlnet?.map(({ image: _, ...control }) => control);
    const parameters = { ...others, masked: Boolean(mask), controlnet: controls };
    const job = {
        id: accepted.task_id,
        created: Date.now(),
        kind,
        parameters,
        state: "PENDING",
        progress: 0,
        position: accepted.Position,
        model: accepted.active_model,
    };
    save(job);
    set({ open: [job, ...get().open], focus: job.id });
    announce(job.position ? `Queued, number ${job.position}.` : "Queued.");
    watch(job.id);
}

function watch(id) {
    follow(id, (told) => {
        const job = get().open.find((each) => each.id === id);
        if (job) receive(job, told);
    });
}

// Brings a job up to date with what the service said of it.
function receive(job, told) {
    const next = { ...job };
    const pick = {
        state: "State",
        progress: "Progress",
        step: "Step",
        steps: "Steps",
        position: "Position",
        eta: "ETA",
        preview: "Preview",
        status: "Status",
    };
    for (const [ours, theirs] of Object.entries(pick))
        if (told[theirs] !== undefined && told[theirs] !== null) next[ours] = told[theirs];
    if (told.Position === null) next.position = null;
    if (next.state === "PROGRESS" && !next.began) {
        next.began = Date.now();
        announce("Drawing.");
    }
    if (!isFinal(next.state)) {
        if (next.state !== job.state) save(next);
        set({ open: get().open.map((each) => (each.id === job.id ? next : each)) });
        return;
    }
    finish(next, told);
}

function finish(job, told) {
    const images = (told.Images || []).map((link, at) => ({ name: nameIn(link), seed: told.Seeds[at] }));
    const ended = {
        ...job,
        preview: null,
        ended: Date.now(),
        error: told.Error || null,
        images,
        size: told.Size,
        grid: told.Grid_image ? nameIn(told.Grid_image) : null,
        parameters: told.Parameters || job.parameters,
    };
    if (job.state === "GONE") ended.error = { error: told.Status };
    place(ended);
    if (job.imported) return;
    const seconds = secondsOf(ended);
    if (job.state === "SUCCESS") announce(`Done${seconds ? ` in ${seconds} seconds` : ""}.`);
    else if (job.state === "REVOKED") announce("Cancelled.");
    else notify(ended.error?.error || "The job failed.");
}

// the last part of the path, with or without what an object store's link carries behind it
const nameIn = (link) => decodeURIComponent(new URL(link, location.href).pathname.split("/").pop());
export const secondsOf = (job) =>
    job.imported || !job.ended ? null : ((job.ended - (job.began || job.created)) / 1000).toFixed(1);

function place(job) {
    // one that left nothing is shown until the next reload, and not kept
    if (job.images.length) save(job);
    else kept.remove(PREFIX + job.id);
    show(job);
}

function show(job) {
    const others = (jobs) => jobs.filter((each) => each.id !== job.id);
    set({ open: others(get().open), done: newestFirst([job, ...others(get().done)]) });
}

function save(job) {
    const { preview: _, ...lasting } = job;
    const names = kept.names(PREFIX);
    while (names.length > MOST_JOBS || !kept.write(PREFIX + job.id, lasting)) {
        const oldest = get()
            .done.filter((each) => names.includes(PREFIX + each.id))
            .pop();
        if (!oldest) return;
        kept.remove(PREFIX + oldest.id);
        names.splice(names.indexOf(PREFIX + oldest.id), 1);
    }
}

export async function cancel(ids) {
    await Promise.all(ids.map((id) => api.cancel(id).catch((error) => notify(error.message))));
}

// Takes an image out of this browser's gallery; the service keeps what it has.
export function remove(job, image) {
    const images = job.images.filter((each) => each !== image);
    if (images.length) {
        const next = { ...job, images };
        save(next);
        set({ done: get().done.map((each) => (each.id === job.id ? next : each)) });
        return;
    }
    kept.remove(PREFIX + job.id);
    kept.write(REMOVED, [job.id, ...kept.read(REMOVED, [])].slice(0, 100));
    set({ done: get().done.filter((each) => each.id !== job.id) });
}
