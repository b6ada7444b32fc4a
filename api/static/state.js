// How far jobs are, in words, and which of them is shown large.
import { secondsOf } from "./jobs.js";

export const percent = (job) => Math.round((job.progress || 0) * 100);
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
    if (job.state === "SUCCESS") return secondsOf(job) ? `Done in ${secondsOf(job)} s` : "Done";
    if (job.state === "REVOKED") return "Cancelled";
    return job.error?.error || job.status || "Failed";
}

export const asImage = (preview) => `data:image/jpeg;base64,${preview}`;
export const promptOf = (job) => job.parameters?.prompt || "";

// The job that is shown large: the chosen one; while that waits, one that is being drawn.
export function shownOf({ open, done, focus }) {
    const chosen = [...open, ...done].find((job) => job.id === focus);
    if (chosen && chosen.state !== "PENDING") return chosen;
    const drawn = open.findLast((job) => job.state === "PROGRESS");
    return drawn || chosen || open[0] || done.find((job) => job.images?.length) || null;
}

// The title of the tab tells how far all of it is.
export function titleOf(open) {
    const running = open.filter((job) => job.state === "PROGRESS");
    const others = open.length - running.length;
    if (running.length) return `${percent(running[0])} %${others ? ` (+${others})` : ""} · Personal Diffusion`;
    return open.length ? `${open.length} waiting · Personal Diffusion` : "Personal Diffusion";
}
