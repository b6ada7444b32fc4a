// What the form holds: only what differs from the service's defaults, by the names of the wire.
import { get, kept, set } from "./store.js";

const FORM = "form";
const SOURCE = "source";
const MASK = "mask";
const CONTROLS = "controlnet";
export const ABOUT_MASKS = [
    "mask_redraw",
    "mask_blur",
    "mask_invert",
    "inpainting_fill",
    "only_masked",
    "only_masked_padding",
];

export function restoreForm() {
    const controls = kept.read(CONTROLS, []);
    set({ values: kept.read(FORM, {}), source: kept.read(SOURCE), mask: kept.read(MASK), controls, errors: {} });
}

export function setValues(change) {
    const values = { ...get().values };
    const errors = { ...get().errors };
    const fields = get().catalogue?.fields.img2img ?? {};
    const drawn = { ...values, ...change };
    for (const [name, value] of Object.entries(change)) {
        delete errors[name];
        if (value === undefined || value === null || value === "" || same(value, defaultOf(fields, name, drawn)))
            delete values[name];
        else values[name] = value;
    }
    kept.write(FORM, values);
    set({ values, errors });
}

// As JSON has them: a list has no identity.
export const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

export const setValue = (name, value) => setValues({ [name]: value });
export const valueOf = (values, fields, name) => values[name] ?? defaultOf(fields, name, values);

// The schema has the usual default; a model may be drawn with one of its own, and an accelerator brings others.
export function defaultOf(fields, name, { ckpt, accelerator }) {
    const { catalogue } = get();
    const model = catalogue && modelOf({ catalogue, values: { ckpt } });
    const own = model?.defaults;
    const other = name !== "accelerator" && accelerator && accelerator !== own?.accelerator;
    const defaults = other ? acceleratedBy(accelerator, catalogue)?.defaults : own;
    return defaults?.[name] ?? fields[name]?.default ?? null;
}

const acceleratedBy = (name, { loras }) => loras.find((each) => each.name === name)?.accelerates;

// The image to start from: its address as data, its size, its name. A large one is not kept over a reload.
export function setSource(source) {
    if (!source || !kept.write(SOURCE, source)) kept.remove(SOURCE);
    const { init_img: _, ...errors } = get().errors;
    set({ source, errors });
    setMask(null);
}

// Which part of it is redrawn, as the service takes it and as it was painted; null: all of it.
export function setMask(mask) {
    if (!mask || !kept.write(MASK, mask)) kept.remove(MASK);
    const { mask: _, ...errors } = get().errors;
    set({ mask, errors });
}

// ControlNets as requests name them, each with its image like a source; null where it has none yet.
export function setControls(controls) {
    // images that are too large for it are not kept over a reload
    if (!kept.write(CONTROLS, controls)) kept.write(CONTROLS, controls.map(plainControl));
    const { controlnet: _, ...errors } = get().errors;
    set({ controls, errors });
}

export const changeControl = (place, change) =>
    setControls(get().controls.map((each, at) => (at === place ? { ...each, ...change } : each)));

const plainControl = (control) => ({ ...control, image: null });

// Those that can be used with the model that the form shows.
export const controlnetsFor = ({ catalogue, values }) =>
    catalogue.controlnets.filter((each) => !each.why_not && each.family === modelOf({ catalogue, values }).family);

// The address of a file as data.
export const dataOf = (blob) =>
    new Promise((resolve, reject) => {
        const reader = new FileReader();
        reader.onload = () => resolve(reader.result);
        reader.onerror = () => reject(new Error("The file cannot be read."));
        reader.readAsDataURL(blob);
    });

export async function imageFrom(blob, name) {
    const data = await dataOf(blob);
    const image = new Image();
    image.src = data;
    await image.decode().catch(() => {
        throw new Error("This is not an image that a browser can show.");
    });
    return { data, name, width: image.naturalWidth, height: image.naturalHeight };
}

export const kindOf = ({ source }) => (source ? "img2img" : "generate");

const TOLD_SIZES = ["original_size", "crops_coords_top_left", "target_size"];
export const isToldSizes = (model) => model.family === "sdxl";

// The body of a request for what the form says now; the key goes in a header.
export function bodyOf({ values, source, mask, controls, catalogue }) {
    const fields = catalogue.fields[kindOf({ source })];
    const model = modelOf({ catalogue, values }); // where the default one is not there, the form shows another
    const applies = ([name]) => name in fields && (mask || values.expand || !ABOUT_MASKS.includes(name));
    const body = Object.fromEntries(Object.entries(values).filter(applies));
    if (controls.length) body.controlnet = controls.map((each) => ({ ...each, image: each.image?.data }));
    if (source) delete body.hires; // one pass
    if (!isToldSizes(model)) TOLD_SIZES.forEach((name) => delete body[name]);
    if (model.name !== catalogue.defaultModel) body.ckpt = model.name;
    return { prompt: "", ...body, ...(source && { init_img: source.data }), ...(mask && { mask: mask.data }) };
}

// These are images, or have some, which no parameters tell.
const NOT_TOLD = ["init_img", "controlnet"];

// Fills the form with what an image was made with; what is not told has its default. Gives what is not known here.
export function useParameters({ ckpt, ...parameters }) {
    const { fields } = get().catalogue;
    const model = ckpt && modelNamed(ckpt, get().catalogue);
    const isTold = ([name]) => fields.img2img[name]?.title && !NOT_TOLD.includes(name);
    const told = Object.entries(parameters).filter(isTold);
    const cleared = Object.fromEntries(Object.keys(get().values).map((name) => [name, undefined]));
    const { accelerator } = parameters;
    const follows = (lora) => same(lora, { name: accelerator, weight: 1 }); // the accelerator brings it by itself
    const chosen = parameters.loras?.map(plainLora).filter((lora) => !follows(lora));
    const loras = chosen?.length ? chosen : undefined;
    setValues({ ...cleared, ...Object.fromEntries(told), loras, ckpt: model?.name, n_iter: undefined });
    setControls((parameters.controlnet ?? []).map(plainControl));
    return ckpt && !model ? [ckpt] : [];
}

// Whatever file has its name now; the weight for the text where it is another one.
const plainLora = ({ name, weight, text_weight: text }) =>
    text === undefined || text === weight ? { name, weight } : { name, weight, text_weight: text };

const modelNamed = (name, { models, defaultModel }) => {
    const wanted = String(name === "default" ? defaultModel : name).toLowerCase();
    const names = (model) => [model.name, model.label, ...model.aliases].map((each) => each.toLowerCase());
    return models.find((model) => names(model).includes(wanted));
};

// The model that the form shows: the chosen one, the default, or any where that one is not there.
export const modelOf = ({ catalogue, values }) =>
    modelNamed(values.ckpt || "default", catalogue) || catalogue.models[0];
