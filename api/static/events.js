// Follows a job to its end: by server-sent events where a connection is free, else by asking now and then.
//
// A browser opens six connections to a server at most, so that only a few jobs may hold one each.
import { ApiError, request, status } from "./api.js";

const MOST_STREAMS = 2;
const SILENCE_MS = 40000; // the server says something every 15 seconds
const ENDS = ["done", "failed", "cancelled"];
export const isFinal = (state) => ["SUCCESS", "FAILURE", "REVOKED", "GONE"].includes(state);

let streams = 0;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// `tell` gets what /status says, or the part of it that is new. Ends with the job.
export async function follow(id, tell) {
    const seen = { last: null };
    let pause = 500;
    let asks = false; // after a stream that failed: whatever is wrong with it, /status knows about the job
    for (;;) {
        try {
            if (!asks && streams < MOST_STREAMS && !document.hidden) {
                streams += 1;
                asks = true;
                try {
                    if (await stream(id, seen, tell)) return;
                    asks = false;
                } finally {
                    streams -= 1;
                }
            } else {
                asks = false;
                const now = await status(id);
                tell(now);
                if (isFinal(now.State)) return;
                await sleep(document.hidden ? 4000 : 2000);
            }
            pause = 500;
        } catch (error) {
            if (!asks && error instanceof ApiError && [404, 410].includes(error.status)) {
                tell({ State: "GONE", Status: error.message });
                return;
            }
            await sleep(pause);
            pause = Math.min(pause * 2, 10000);
        }
    }
}

// Whether the job has ended; false when the connection was lost, and is to be taken up after `seen.last`.
async function stream(id, seen, tell) {
    const headers = { Accept: "text/event-stream", ...(seen.last && { "Last-Event-ID": seen.last }) };
    const response = await request(`/events/${id}?previews=true`, { headers });
    if (response.status === 204) throw new Error("The last event is known; /status tells the end.");
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    try {
        for (;;) {
            const { value, done } = await within(reader.read(), SILENCE_MS);
            if (done) return false;
            const parts = (text + value).split(/\r?\n\r?\n/);
            text = parts.pop();
            for (const part of parts) {
                const event = parse(part);
                if (event.id) seen.last = event.id;
                if (ENDS.includes(event.kind)) {
                    // one that gave up may have images too, of which only /status tells
                    tell(event.kind === "done" ? asStatus(event) : await status(id));
                    return true;
                }
                if (event.kind) tell(asStatus(event));
            }
        }
    } finally {
        reader.cancel().catch(() => {});
    }
}

function within(promise, ms) {
    let timer;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error("silence")), ms);
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// One event of the format (WHATWG HTML, 9.2.6); comments are lines that begin with a colon.
export function parse(text) {
    const event = { id: null, kind: null, data: "" };
    for (const line of text.split(/\r?\n/)) {
        const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line);
        if (name === "id") event.id = value;
        if (name === "event") event.kind = value;
        if (name === "data") event.data += value;
    }
    return event;
}

function asStatus({ kind, data }) {
    const told = JSON.parse(data);
    if (kind === "queued") return { State: "PENDING", Progress: 0, ...told };
    if (kind === "progress") return { State: "PROGRESS", Position: null, ...told };
    if (kind === "preview") return { Preview: told.Image };
    return { State: "SUCCESS", ...told };
}
