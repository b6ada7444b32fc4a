// Talks to the service: requests with the key, errors as it tells them, and whether it is there at all.
import { get, kept, set } from "./store.js";

const KEY = "key";
const publicKey = document.querySelector('meta[name="key"]').content;
let key = kept.read(KEY, "") || publicKey;

export const hasKey = () => Boolean(key);
export const keyForExamples = () => (key === publicKey && publicKey) || "YOUR_KEY";

export function useKey(text, remember) {
    key = text || publicKey;
    if (text && remember) kept.write(KEY, text);
    else kept.remove(KEY);
    set({ asksForKey: false });
}

export class ApiError extends Error {
    constructor(status, body, retryAfter) {
        super(body.error || `The server answered with status ${status}.`);
        this.status = status;
        this.code = body.code;
        this.fields = body.fields || {};
        this.retryAfter = retryAfter;
    }
}

const AWAY = { error: "The server cannot be reached. Nothing is lost: the page tries again by itself.", code: "away" };

export async function request(path, { json, headers, ...options } = {}) {
    let response;
    try {
        response = await fetch(path, {
            ...options,
            headers: {
                ...(key && { "X-API-Key": key }),
                ...(json && { "Content-Type": "application/json" }),
                ...headers,
            },
            ...(json && { method: "POST", body: JSON.stringify(json) }),
        });
    } catch (error) {
        if (error.name === "AbortError") throw error;
        serverIsAway();
        throw new ApiError(0, AWAY);
    }
    if (get().away) set({ away: false });
    if (response.ok) return response;
    const body = await response.json().catch(() => ({}));
    if (response.status === 401) set({ asksForKey: (key && body.error) || true });
    throw new ApiError(response.status, body, Number(response.headers.get("Retry-After")) || null);
}

export async function read(path, options) {
    const response = await request(path, options);
    try {
        return await response.json();
    } catch {
        throw new ApiError(response.status, {
            error: "The answer was not of this service; is something between you and it?",
        });
    }
}

let pings = 0;
function serverIsAway() {
    if (pings === 0) setTimeout(ping, 1000);
    set({ away: true });
}

async function ping() {
    pings += 1;
    try {
        await fetch("/health", { cache: "no-store" });
        pings = 0;
        set({ away: false });
    } catch {
        setTimeout(ping, Math.min(1000 * 2 ** pings, 10000));
    }
}

// crypto.randomUUID is missing on plain http
const randomName = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16)).join("");

// Queues a request. One whose answer was lost is sent again under the same name, and is one job.
export async function submit(path, body) {
    const headers = { "Idempotency-Key": randomName() };
    try {
        return await read(path, { json: body, headers });
    } catch (error) {
        if (error.status !== 0 && error.status !== 503) throw error;
        await new Promise((resolve) => setTimeout(resolve, 1000 * (error.retryAfter || 1)));
        return read(path, { json: body, headers });
    }
}

export const status = (id) => read(`/status/${id}?result=false&preview=true`);
export const cancel = (id) => read(`/cancel/${id}`, { method: "POST" });

export async function recentIds() {
    const { Recent_finished_images: links } = await read("/recent");
    return links.map((link) => link.split("/").pop());
}

// What can be asked for: the service's own parameters, models and samplers.
export async function loadCatalogue() {
    const lists = ["/openapi.json", "/models", "/samplers"].map((path) => read(path));
    const [document, models, samplers, files] = await Promise.all([...lists, loadFiles()]);
    return {
        fields: { generate: fieldsOf(document, "/generate"), img2img: fieldsOf(document, "/img2img") },
        samplers: samplers.samplers,
        ...files,
        ...modelsOf(models),
    };
}

export const loadModels = async () => modelsOf(await read("/models"));

// After the workers have looked for new files.
export async function findModels() {
    const models = modelsOf(await read("/models/refresh", { method: "POST" }));
    return { ...models, ...(await loadFiles()) };
}

// What is in files beside the models.
async function loadFiles() {
    const lists = ["/loras", "/upscalers", "/controlnets"].map((path) => read(path));
    const [{ loras }, { upscalers }, { controlnets, modes }] = await Promise.all(lists);
    return { loras, upscalers, controlnets, controlModes: modes };
}

// What a preprocessor makes of an image, with so many pixels of its shorter side; as an address.
export async function preprocessed(module, image, side, signal) {
    const json = { controlnet_module: module, controlnet_images: [image], controlnet_processor_res: side };
    const { images } = await read("/controlnet/detect", { json, signal });
    return `data:image/png;base64,${images[0]}`;
}

// `others` are files that are no model to draw with, or none that is understood.
const modelsOf = ({ models, others, default: defaultModel }) => ({ models, others, defaultModel });

// The fields of a request; those that are lists of objects with what their entries have, and an object with its parts.
function fieldsOf(document, path) {
    const resolved = (schema) => (schema?.$ref ? document.components.schemas[schema.$ref.split("/").pop()] : schema);
    const { properties } = resolved(document.paths[path].post.requestBody.content["application/json"].schema);
    const partsOf = ({ anyOf = [] }) => anyOf.map(resolved).find((each) => each.properties)?.properties;
    const whole = ([name, about]) => [name, { ...about, items: resolved(about.items), parts: partsOf(about) }];
    return Object.fromEntries(Object.entries(properties).map(whole));
}
