// The request of an image as programs write it: curl, Python, JavaScript, to this API and to the OpenAI dialect.
import { keyForExamples } from "./api.js";
import { get, notify } from "./store.js";
import { ABOUT_MASKS, defaultOf, same } from "./values.js";
import { html, useState } from "./vendor/preact-htm.js";

const WAYS = {
    curl: { label: "curl", write: curl },
    python: { label: "Python", write: python },
    javascript: { label: "JavaScript", write: javascript },
    "curl-openai": { label: "curl, OpenAI", write: curlOpenai },
    "python-openai": { label: "Python, OpenAI", write: pythonOpenai },
    "javascript-openai": { label: "JavaScript, OpenAI", write: javascriptOpenai },
};

export function Requests({ parameters }) {
    const [way, setWay] = useState("curl");
    const text = WAYS[way].write(bodyFor(parameters));
    return html`<div class="requests">
        <div class="label">
            <label for="request-way">The request as</label>
            <select id="request-way" value=${way} onChange=${(event) => setWay(event.target.value)}>
                ${Object.entries(WAYS).map(([name, { label }]) => html`<option value=${name}>${label}</option>`)}
            </select>
            <button class="quiet" onClick=${() => copy(text, "The request is copied.")}>Copy</button>
        </div>
        <pre tabindex="0" aria-label="The request"><code>${text}</code></pre>
    </div>`;
}

export async function copy(text, said) {
    try {
        await navigator.clipboard.writeText(text);
        notify(said);
    } catch {
        notify(`This browser does not let a page copy here. ${text}`); // on plain http, for one
    }
}

// The OpenAI dialect has other defaults of these where there is a mask.
const OTHERWISE_WITH_MASK = ["mask_redraw", "denoising_strength"];

// Where it goes, and what differs from the defaults there. The input images and masks are not kept: the examples read
// files. What is about a mask is refused without one, and without sides that are gone beyond.
function bodyFor(parameters) {
    const kind = parameters.denoising_strength === undefined ? "generate" : "img2img";
    const fields = get().catalogue.fields[kind];
    const usual = (name) => defaultOf(fields, name, parameters);
    const { masked = false } = parameters;
    const applies = (name) => masked || parameters.expand || !ABOUT_MASKS.includes(name);
    const told = (name) => fields[name]?.title && name !== "controlnet" && applies(name);
    const needed = (name) => masked && OTHERWISE_WITH_MASK.includes(name);
    const differs = ([name, value]) => told(name) && value !== null && (needed(name) || !same(value, usual(name)));
    const { n_iter: _, ...body } = Object.fromEntries(Object.entries(parameters).filter(differs));
    const { controlnet: controls = [] } = parameters;
    const url = `${location.origin}/${kind}`;
    return { url, fromImage: kind === "img2img", masked, controls, body: { prompt: "", ...body } };
}

const waiting = (body) => ({ ...body, synchronous_request: true });
const escaped = (text) => text.replaceAll("'", `'\\''`);
const quoted = (text) => `'${escaped(text)}'`;
const lines = (...parts) => parts.filter((part) => part !== false).join("\n");
const PYTHON = { true: "True", false: "False", null: "None" };

// What reads a file as base64: in single quotes of a shell, in Python, in JavaScript.
const FILE = {
    shell: (name) => `"'"$(base64 < ${name} | tr -d '\\n')"'"`,
    python: (name) => `base64.b64encode(open("${name}", "rb").read()).decode()`,
    javascript: (name) => `(await readFile("${name}")).toString("base64")`,
};

// ControlNets with what reads a file in the place of each image.
function followed(controls, read, write = (text) => text) {
    const texts = controls.map((control, place) => {
        const others = write(JSON.stringify(control).slice(0, -1));
        return `${others}, "image": ${read(`control-${place + 1}.png`)}}`;
    });
    return `[${texts.join(", ")}]`;
}

function inShell(body, controls, fromImage, masked) {
    const parts = [
        fromImage && `"init_img": ${FILE.shell("input.png")}`,
        masked && `"mask": ${FILE.shell("mask.png")}`,
        controls.length > 0 && `"controlnet": ${followed(controls, FILE.shell, escaped)}`,
        escaped(JSON.stringify(body).slice(1, -1)),
    ];
    return `'{${parts.filter(Boolean).join(", ")}}'`;
}

function inPython(value, controls) {
    const entries = Object.entries(value).map(([name, each]) => `    ${JSON.stringify(name)}: ${constant(each)},`);
    if (controls.length) entries.push(`    "controlnet": ${followed(controls, FILE.python)},`);
    return ["{", ...entries, "}"].join("\n");
}

const inForm = (value) => (typeof value === "object" ? JSON.stringify(value) : value);
const constant = (value) => PYTHON[value] ?? JSON.stringify(value);

function curl({ url, fromImage, masked, controls, body }) {
    return lines(
        `curl -sSf ${url} -H 'Content-Type: application/json' \\`,
        `  -H 'X-API-Key: ${keyForExamples()}' -o image.png \\`,
        `  -d ${inShell(waiting(body), controls, fromImage, masked)}`,
    );
}

function python({ url, fromImage, masked, controls, body }) {
    return lines(
        (fromImage || controls.length > 0) && "import base64",
        "import requests",
        "",
        `body = ${inPython(waiting(body), controls)}`,
        fromImage && `body["init_img"] = ${FILE.python("input.png")}`,
        masked && `body["mask"] = ${FILE.python("mask.png")}`,
        `answer = requests.post("${url}", json=body, headers={"X-API-Key": "${keyForExamples()}"})`,
        "answer.raise_for_status()",
        'open("image.png", "wb").write(answer.content)',
    );
}

function javascript({ url, fromImage, masked, controls, body }) {
    return lines(
        'import { readFile, writeFile } from "node:fs/promises";',
        "",
        `const body = ${JSON.stringify(waiting(body), null, 2)};`,
        fromImage && `body.init_img = ${FILE.javascript("input.png")};`,
        masked && `body.mask = ${FILE.javascript("mask.png")};`,
        controls.length > 0 && `body.controlnet = ${followed(controls, FILE.javascript)};`,
        `const answer = await fetch("${url}", {`,
        '  method: "POST",',
        `  headers: { "Content-Type": "application/json", "X-API-Key": "${keyForExamples()}" },`,
        "  body: JSON.stringify(body),",
        "});",
        "if (!answer.ok) throw new Error(await answer.text());",
        'await writeFile("image.png", Buffer.from(await answer.arrayBuffer()));',
    );
}

// The dialect has names of its own for some, and takes the others as they are.
function asOpenai({ prompt, ckpt, W, H, ...others }) {
    const size = W && H ? { size: `${W}x${H}` } : {};
    return { model: ckpt || get().catalogue.defaultModel, prompt, ...size, response_format: "b64_json", ...others };
}

const base = () => `${location.origin}/v1`;

function curlOpenai({ fromImage, masked, controls, body }) {
    const all = asOpenai(body);
    const key = `-H 'Authorization: Bearer ${keyForExamples()}'`;
    const save = `| python3 -c "import base64, json, sys; sys.stdout.buffer.write(
  base64.b64decode(json.load(sys.stdin)['data'][0]['b64_json']))" > image.png`;
    if (!fromImage) {
        const type = "-H 'Content-Type: application/json'";
        const data = inShell(all, controls);
        return lines(`curl -sSf ${base()}/images/generations ${type} \\`, `  ${key} \\`, `  -d ${data} ${save}`);
    }
    const form = Object.entries(all).map(([name, value]) => `-F ${quoted(`${name}=${inForm(value)}`)}`);
    if (controls.length) form.push(`-F 'controlnet=${followed(controls, FILE.shell, escaped)}'`);
    const mask = masked ? " -F mask=@mask.png" : "";
    return lines(`curl -sSf ${base()}/images/edits ${key} -F image=@input.png${mask} \\`, `  ${form.join(" ")} ${save}`);
}

function pythonOpenai({ fromImage, masked, controls, body }) {
    const { model, prompt, size, response_format: form, ...extra } = asOpenai(body);
    return lines(
        "import base64",
        "from openai import OpenAI",
        "",
        `client = OpenAI(base_url="${base()}", api_key="${keyForExamples()}")`,
        `answer = client.images.${fromImage ? "edit" : "generate"}(`,
        fromImage && '    image=open("input.png", "rb"),',
        masked && '    mask=open("mask.png", "rb"),',
        `    model=${constant(model)},`,
        `    prompt=${constant(prompt)},`,
        size !== undefined && `    size="${size}",`,
        `    response_format="${form}",`,
        `    extra_body=${inPython(extra, controls).replaceAll("\n", "\n    ")},`,
        ")",
        'open("image.png", "wb").write(base64.b64decode(answer.data[0].b64_json))',
    );
}

function javascriptOpenai({ fromImage, masked, controls, body }) {
    return lines(
        'import { createReadStream, writeFileSync } from "node:fs";',
        controls.length > 0 && 'import { readFile } from "node:fs/promises";',
        'import OpenAI from "openai";',
        "",
        `const client = new OpenAI({ baseURL: "${base()}", apiKey: "${keyForExamples()}" });`,
        `const answer = await client.images.${fromImage ? "edit" : "generate"}({`,
        fromImage && '  image: createReadStream("input.png"),',
        masked && '  mask: createReadStream("mask.png"),',
        controls.length > 0 && `  controlnet: ${followed(controls, FILE.javascript)},`,
        `${JSON.stringify(asOpenai(body), null, 2).slice(2)});`,
        'writeFileSync("image.png", Buffer.from(answer.data[0].b64_json, "base64"));',
    );
}
