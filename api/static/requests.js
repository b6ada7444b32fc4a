// The request of an image as programs write it: curl, Python, JavaScript, to this API and to the OpenAI dialect.
import { keyForExamples } from "./api.js";
import { get, notify } from "./store.js";
import { html, useState } from "./vendor/preact-htm.js";

const WAYS = {
    curl: { label: "curl", write: curl },
    python: { label: "Python", write: python },
    javascript: { label: "JavaScript", write: javascript },
    "curl-openai": { label: "curl, OpenAI", write: curlOpenai },
    "python-openai": { label: "Python, OpenAI", write: pythonOpenai },
    "javascript-openai": { label: "JavaScript, OpenAI", write: javascriptOpenai },
};

export function Requests({ parameters, kind }) {
    const [way, setWay] = useState("curl");
    const text = WAYS[way].write(bodyFor(parameters, kind), kind);
    return html`<div class="requests"><div class="label"><label for="request-way">The request as</label>
      <select id="request-way" value=${way} onChange=${(event) => setWay(event.target.value)}>${Object.entries(WAYS).map(([name, each]) => html`<option value=${name}>${each.label}</option>`)}</select>
      <button class="quiet" onClick=${() => copy(text, "The request is copied.")}>Copy</button></div>
    <pre tabindex="0" aria-label="The request"><code>${text}</code></pre></div>`;
}

export async function copy(text, said) {
    try {
        await navigator.clipboard.writeText(text);
        notify(said);
    } catch {
        notify(`This browser does not let a page copy here. ${text}`); // on plain http, for one
    }
}

// Only what differs from the defaults, and is a parameter of this kind of request.
export function bodyFor(parameters, kind) {
    const fields = get().catalogue.fields[kind];
    const told = Object.entries(parameters).filter(
        ([name, value]) => fields[name]?.title && value !== null && value !== fields[name].default,
    );
    return { prompt: "", ...Object.fromEntries(told), n_iter: undefined };
}

const origin = () => location.origin;
const json = (value, space) => JSON.stringify(value, null, space);
const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
const IMAGE = { curl: '"init_img": "\'"$(base64 < input.png | tr -d "\\n")"\'"' };
const pythonic = (value) =>
    json(value, 4)
        .replace(/\btrue\b/g, "True")
        .replace(/\bfalse\b/g, "False")
        .replace(/\bnull\b/g, "None");

function curl(body, kind) {
    const whole = json({ ...body, synchronous_request: true });
    const data = kind === "img2img" ? quoted(whole).replace("{", `{${IMAGE.curl}, `) : quoted(whole);
    return `curl -sSf ${origin()}/${kind} -H 'Content-Type: application/json' \\\n  -H 'X-API-Key: ${keyForExamples()}' \\\n  -d ${data} -o image.png`;
}

function python(body, kind) {
    const image =
        kind === "img2img" ? 'body["init_img"] = base64.b64encode(open("input.png", "rb").read()).decode()\n' : "";
    return `import ${image && "base64, "}requests\n\nbody = ${pythonic({ ...body, synchronous_request: true })}\n${image}answer = requests.post("${origin()}/${kind}", json=body, headers={"X-API-Key": "${keyForExamples()}"})\nanswer.raise_for_status()\nopen("image.png", "wb").write(answer.content)`;
}

function javascript(body, kind) {
    const image = kind === "img2img" ? 'body.init_img = (await readFile("input.png")).toString("base64");\n' : "";
    return `import { ${image && "readFile, "}writeFile } from "node:fs/promises";\n\nconst body = ${json({ ...body, synchronous_request: true }, 2)};\n${image}const answer = await fetch("${origin()}/${kind}", {\n  method: "POST",\n  headers: { "Content-Type": "application/json", "X-API-Key": "${keyForExamples()}" },\n  body: JSON.stringify(body),\n});\nif (!answer.ok) throw new Error(await answer.text());\nawait writeFile("image.png", Buffer.from(await answer.arrayBuffer()));`;
}

// The dialect has names of its own for three of them, and takes the others as they are.
function openaiBody({ prompt, ckpt, W, H, ...others }) {
    const { defaultModel } = get().catalogue;
    return {
        model: ckpt || defaultModel,
        prompt,
        ...(W && H && { size: `${W}x${H}` }),
        response_format: "b64_json",
        ...others,
    };
}

function curlOpenai(body, kind) {
    const all = Object.entries(openaiBody(body)).filter(([, value]) => value !== undefined);
    const key = `-H 'Authorization: Bearer ${keyForExamples()}'`;
    if (kind === "generate")
        return `curl -sSf ${origin()}/v1/images/generations -H 'Content-Type: application/json' \\\n  ${key} \\\n  -d ${quoted(json(Object.fromEntries(all)))}`;
    return `curl -sSf ${origin()}/v1/images/edits ${key} \\\n  -F image=@input.png ${all.map(([name, value]) => `-F ${quoted(`${name}=${value}`)}`).join(" ")}`;
}

function pythonOpenai(body, kind) {
    const { model, prompt, size, response_format: form, ...extra } = openaiBody(body);
    const call = kind === "generate" ? "generate(" : 'edit(\n    image=open("input.png", "rb"),';
    return `import base64\nfrom openai import OpenAI\n\nclient = OpenAI(base_url="${origin()}/v1", api_key="${keyForExamples()}")\nanswer = client.images.${call}\n    model=${json(model)}, prompt=${json(prompt)},${size ? ` size="${size}",` : ""} response_format="${form}",\n    extra_body=${pythonic(extra)},\n)\nopen("image.png", "wb").write(base64.b64decode(answer.data[0].b64_json))`;
}

function javascriptOpenai(body, kind) {
    const image = kind === "generate" ? "" : '  image: createReadStream("input.png"),\n';
    const all = json(openaiBody(body), 2).slice(2);
    return `import OpenAI from "openai";\nimport { ${image && "createReadStream, "}writeFileSync } from "node:fs";\n\nconst client = new OpenAI({ baseURL: "${origin()}/v1", apiKey: "${keyForExamples()}" });\nconst answer = await client.images.${kind === "generate" ? "generate" : "edit"}({\n${image}${all});\nwriteFileSync("image.png", Buffer.from(answer.data[0].b64_json, "base64"));`;
}
