// Reads what an image was made with from a PNG: our own JSON, or the line that A1111 and others write.
const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const MOST_TEXT = 1 << 20; // of one chunk; parameters are a few hundred characters

// The texts of a PNG by keyword (PNG specification, 11.3.4); {} for any other file.
async function textsOf(buffer) {
    const bytes = new Uint8Array(buffer);
    const texts = {};
    if (!SIGNATURE.every((byte, at) => bytes[at] === byte)) return texts;
    const view = new DataView(buffer);
    for (let at = 8; at + 12 <= bytes.length;) {
        const length = view.getUint32(at);
        const kind = latin(bytes.subarray(at + 4, at + 8));
        const data = bytes.subarray(at + 8, at + 8 + length);
        if (kind === "IEND" || data.length < length) break;
        if (length <= MOST_TEXT && ["tEXt", "zTXt", "iTXt"].includes(kind)) {
            const [keyword, text] = await textIn(kind, data).catch(() => []);
            if (keyword) texts[keyword] = text;
        }
        at += length + 12;
    }
    return texts;
}

const latin = (bytes) => new TextDecoder("latin1").decode(bytes);

async function textIn(kind, data) {
    const end = data.indexOf(0);
    const keyword = latin(data.subarray(0, end));
    const rest = data.subarray(end + 1);
    if (kind === "tEXt") return [keyword, latin(rest)];
    if (kind === "zTXt") return [keyword, latin(await inflate(rest.subarray(1)))];
    const compressed = rest[0] === 1;
    const language = rest.indexOf(0, 2);
    const text = rest.subarray(rest.indexOf(0, language + 1) + 1);
    return [keyword, new TextDecoder().decode(compressed ? await inflate(text) : text)];
}

async function inflate(bytes) {
    const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
    const parts = [];
    for (let size = 0; ;) {
        const { value, done } = await reader.read();
        if (done) break;
        size += value.length;
        if (size > MOST_TEXT) throw new Error("too long");
        parts.push(value);
    }
    return new Uint8Array(await new Blob(parts).arrayBuffer());
}

// The parameters in a PNG by the names of the wire, and what of them is not known here; null where there are none.
export async function parametersIn(buffer, catalogue) {
    const texts = await textsOf(buffer);
    try {
        const own = JSON.parse(texts.personal_diffusion);
        if (own && typeof own === "object") return { parameters: own, unknown: [] };
    } catch {
        // not ours
    }
    return texts.parameters ? fromInfotext(texts.parameters, catalogue) : null;
}

const NUMBERS = {
    Steps: "ddim_steps",
    "CFG scale": "scale",
    Seed: "seed",
    "Noise seed": "noise_seed",
    "Denoising strength": "denoising_strength",
    "Noise multiplier": "noise_multiplier",
    Eta: "ddim_eta",
};
const PAIR = /\s*([\w /+-]+):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)/g;
const LAST_LINE = /^\s*Steps: \d+/;
const LONGEST_LINE = 20000; // characters; a longer one is nobody's, and slow to take apart

// `prompt`, `Negative prompt: ...`, then one line of `Name: value, ...`; values with commas are JSON text.
function fromInfotext(text, catalogue) {
    const lines = text.trim().split("\n");
    const last = LAST_LINE.test(lines[lines.length - 1]) ? lines.pop() : "";
    const split = lines.findIndex((line) => line.startsWith("Negative prompt:"));
    const prompt = (split < 0 ? lines : lines.slice(0, split)).join("\n").trim();
    const negative = split < 0 ? "" : lines.slice(split).join("\n").replace("Negative prompt:", "").trim();
    const told = {};
    const pairs = last.slice(0, LONGEST_LINE).matchAll(PAIR);
    for (const [, name, value] of pairs) told[name.trim()] = unquoted(value.trim());

    const parameters = { prompt, ...(negative && { negative_prompt: negative }) };
    for (const [name, ours] of Object.entries(NUMBERS))
        if (Number.isFinite(Number(told[name] || NaN))) parameters[ours] = Number(told[name]);
    const [W, H] = (told.Size || "").split("x").map(Number);
    if (W && H) Object.assign(parameters, { W, H });
    if (told.Model) parameters.ckpt = told.Model;
    const sampler = told.Sampler && samplerNamed(told.Sampler, told["Schedule type"], catalogue);
    if (sampler) parameters.sampler = sampler.name;
    return { parameters, unknown: told.Sampler && !sampler ? [told.Sampler] : [] };
}

function unquoted(value) {
    try {
        return value.startsWith('"') ? JSON.parse(value) : value;
    } catch {
        return value;
    }
}

function samplerNamed(label, schedule, { samplers }) {
    const labelled = (wanted) =>
        samplers.find((each) => each.label.toLowerCase() === wanted.toLowerCase() || each.name === wanted);
    return (schedule && labelled(`${label} ${schedule}`)) || labelled(label);
}
