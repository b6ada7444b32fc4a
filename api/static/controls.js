// ControlNets: each follows an image of its own, as much and in as many of the steps as it is told.
import { preprocessed } from "./api.js";
import { Labelled, number } from "./fields.js";
import { ChooseImage, Droppable } from "./image-input.js";
import { get, notify, useStore } from "./store.js";
import { changeControl, controlnetsFor, imageFrom, modelOf, setControls } from "./values.js";
import { html, useEffect, useState } from "./vendor/preact-htm.js";

const MEANING = { none: "as it is", canny: "its edges", invert: "black lines on white", resize: "cut to the shape" };
const PREVIEWED = ["canny", "invert"]; // the others leave what is seen already
const SIDES = { least: 64, most: 1024 }; // pixels of the shorter side of a preview

export function ControlsField({ about }) {
    const catalogue = useStore((state) => state.catalogue);
    const values = useStore((state) => state.values);
    const controls = useStore((state) => state.controls);
    const fitting = controlnetsFor({ catalogue, values });
    if (!controls.length && !fitting.length) return null;
    const add = ({ target }) => {
        setControls([...controls, { model: target.value, image: null }]);
        target.value = "";
    };
    const others = controls.length < about.maxItems ? fitting : [];
    // where there is none to add it can still be focused, for what is wrong stands below it
    const select = (ties) => html`<select value="" onChange=${add} ...${ties}>
        <option value="">${others.length ? "Add one …" : "No more can be added"}</option>
        ${others.map((each) => html`<option key=${each.name} value=${each.name}>${each.name}</option>`)}
    </select>`;
    const parts = about.items.properties;
    const hint = controls.length ? "" : "The image that is drawn follows another: its outlines, for one.";
    return html`<div class="field">
        <${Labelled} name="controlnet" title=${about.title} hint=${hint} control=${select} />
        ${controls.map((control, place) => html`
            <${Control} key=${place} place=${place} control=${control} names=${fitting} about=${parts} />`)}
    </div>`;
}

// Gives an image to the first ControlNet that has none, else to one more; an error says why there is none.
export function follow(image) {
    const { catalogue, controls, values } = get();
    const free = controls.findIndex((each) => !each.image);
    if (free >= 0) return changeControl(free, { image });
    const [first] = controlnetsFor({ catalogue, values });
    const full = controls.length >= catalogue.fields.generate.controlnet.maxItems;
    if (full || !first) throw new Error("No more ControlNets can be added: leave one out first.");
    return setControls([...controls, { model: first.name, image }]);
}

function Control({ place, control, names, about }) {
    const modes = useStore((state) => state.catalogue.controlModes);
    const name = `ControlNet ${place + 1}`;
    const id = (part) => `field-controlnet-${place}-${part}`;
    const change = (part, value) => changeControl(place, { [part]: value });
    const remove = () => {
        setControls(get().controls.filter((_, at) => at !== place));
        document.querySelector("#field-controlnet").focus();
    };
    const chosen = (part) => ({ target }) => change(part, target.value);
    const share = (part, title) => html`<${Part} id=${id(part)} title=${title}>
        ${number(part, about[part], control[part], {
            id: id(part),
            step: 0.05,
            placeholder: about[part].default,
            onInput: ({ target }) => change(part, target.value === "" ? undefined : Number(target.value)),
        })}
    <//>`;
    const models = names.some((each) => each.name === control.model) ? names : [{ name: control.model }, ...names];
    return html`<div class="control" role="group" aria-labelledby=${id("name")}>
        <div class="label">
            <strong id=${id("name")}>${name}</strong>
            <button type="button" class="quiet" aria-label=${`Leave out ${name}`} onClick=${remove}>Remove</button>
        </div>
        <${ControlImage} id=${id("image")} name=${name} control=${control} place=${place} />
        <${Part} id=${id("model")} title="Model">
            <${Choice} id=${id("model")} value=${control.model} names=${models} onChange=${chosen("model")} />
        <//>
        <${Part} id=${id("preprocess")} title="Preprocess">
            <${Choice}
                id=${id("preprocess")}
                value=${control.preprocess ?? about.preprocess.default}
                names=${about.preprocess.enum.map((each) => ({ name: each, label: `${each}: ${MEANING[each]}` }))}
                onChange=${chosen("preprocess")}
            />
        <//>
        <div class="numbers">
            ${share("weight", "Weight")} ${share("start", "Begins at")} ${share("end", "Ends at")}
        </div>
        <p class="hint">It takes part in a share of the steps: from 0, the first, to 1, the last.</p>
        <${Part} id=${id("mode")} title="What counts for more">
            <${Choice}
                id=${id("mode")}
                value=${control.mode ?? about.mode.default}
                names=${modes}
                onChange=${chosen("mode")}
            />
        <//>
    </div>`;
}

function Part({ id, title, children }) {
    return html`<div class="field">
        <div class="label"><label for=${id}>${title}</label></div>
        ${children}
    </div>`;
}

function Choice({ id, value, names, onChange }) {
    return html`<select id=${id} value=${value} onChange=${onChange}>
        ${names.map(({ name, label = name }) => html`
            <option key=${name} value=${name} selected=${name === value}>${label}</option>`)}
    </select>`;
}

function ControlImage({ id, name, control, place }) {
    const { image } = control;
    const take = async (file) => {
        try {
            changeControl(place, { image: await imageFrom(file, file.name || "pasted image") });
        } catch (error) {
            notify(error.message);
        }
    };
    const drop = () => changeControl(place, { image: null });
    return html`<${Droppable} class="followed" take=${take}>
        ${!image && html`<${ChooseImage} id=${id} title="Follow an image" take=${take} />`}
        ${image && html`<div class="chosen">
            <img src=${image.data} alt=${`What ${name} follows: ${image.name}`} />
            <${Preview} name=${name} control=${control} />
            <div class="about">
                <span>${image.width} × ${image.height}</span>
                <button type="button" class="quiet" aria-label=${`Another image for ${name}`} onClick=${drop}>
                    Another
                </button>
            </div>
        </div>`}
    <//>`;
}

// What the preprocessing makes of it; nothing where the service does not say it.
function Preview({ name, control }) {
    const [made, setMade] = useState(null);
    const { image, preprocess } = control;
    useEffect(() => {
        setMade(null);
        if (!PREVIEWED.includes(preprocess)) return undefined;
        const unwanted = new AbortController();
        preprocessed(preprocess, image.data, shorterSide(get()), unwanted.signal).then(setMade, () => {});
        return () => unwanted.abort();
    }, [image, preprocess]);
    return made && html`<img src=${made} alt=${`What ${name} sees of it: ${MEANING[preprocess]}`} />`;
}

function shorterSide({ catalogue, values }) {
    const { native_size: native } = modelOf({ catalogue, values });
    const side = Math.min(values.W ?? native, values.H ?? native);
    return Math.max(SIDES.least, Math.min(SIDES.most, side));
}
