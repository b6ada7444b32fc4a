// Which part of the image to start from is drawn anew: painted over it with a brush, in its own pixels.
import { Dialog } from "./dialog.js";
import { Field } from "./fields.js";
import { useStore } from "./store.js";
import { ABOUT_MASKS, setMask } from "./values.js";
import { html, useEffect, useRef, useState } from "./vendor/preact-htm.js";

const COLOUR = "#4f46e5"; // while it is painted
const LARGEST = 1024; // pixels of the longer side; the service brings a mask to the size of its image
const SIZES = { smallest: 2, largest: 50, first: 15 }; // of a brush, in hundredths of the shorter side
const SHOWN = ["mask_blur", "inpainting_fill", "only_masked", "only_masked_padding"];
// all that is about it has its place here; what is left out of SHOWN, the painting itself says
export const MASK_FIELDS = ["mask", ...ABOUT_MASKS];

export function MaskField({ source, fields }) {
    const mask = useStore((state) => state.mask);
    const errors = useStore((state) => state.errors.mask);
    const expand = useStore((state) => state.values.expand);
    const [paints, setPaints] = useState(false);
    if (!fields.mask) return null;
    return html`<div class="field" data-field="mask">
        <div class="together">
            <button type="button" id="field-mask" class="quiet" onClick=${() => setPaints(true)}>
                ${mask ? "Change the part" : "Redraw only a part"}
            </button>
            ${mask && html`<button type="button" class="quiet" onClick=${() => setMask(null)}>Redraw all of it</button>`}
        </div>
        ${errors && html`<p class="error">${errors.join(" ")}</p>`}
        ${(mask || expand) && html`<details class="aside">
            <summary>How the part is redrawn</summary>
            ${SHOWN.map((name) => html`<${Field} key=${name} name=${name} about=${fields[name]} />`)}
        </details>`}
        ${paints && html`<${Painter} source=${source} mask=${mask} close=${() => setPaints(false)} />`}
    </div>`;
}

// Painting is a list of acts, so that the last can be taken back: each gets the canvas of the mask, clear where kept.
const ACTS = {
    mask: (context, { image }) => context.drawImage(image, 0, 0, context.canvas.width, context.canvas.height),
    stroke: (context, { points, width, erases }) => {
        context.globalCompositeOperation = erases ? "destination-out" : "source-over";
        context.lineWidth = width;
        context.beginPath();
        for (const [x, y] of [points[0], ...points]) context.lineTo(x, y);
        context.stroke();
    },
    invert: (context) => {
        context.globalCompositeOperation = "xor";
        context.fillRect(0, 0, context.canvas.width, context.canvas.height);
    },
    clear: (context) => context.clearRect(0, 0, context.canvas.width, context.canvas.height),
};

function Painter({ source, mask, close }) {
    const canvas = useRef(null);
    const [acts, setActs] = useState([]);
    const [size, setSize] = useState(SIZES.first);
    const [erases, setErases] = useState(false);
    const scale = Math.min(1, LARGEST / Math.max(source.width, source.height));
    const width = Math.max(1, Math.round(source.width * scale));
    const height = Math.max(1, Math.round(source.height * scale));

    useEffect(() => {
        if (!mask) return;
        const image = new Image();
        image.src = mask.painted;
        image.decode().then(
            () => setActs((later) => [{ kind: "mask", image }, ...later]),
            () => setMask(null),
        );
    }, []);
    useEffect(() => paint(canvas.current.getContext("2d"), acts), [acts]);

    const act = (one) => setActs((before) => [...before, one]);
    const begun = (some) => (some[0]?.kind === "mask" ? 1 : 0);
    const undo = () => setActs((before) => before.slice(0, Math.max(begun(before), before.length - 1)));
    const place = (event) => {
        const shown = canvas.current.getBoundingClientRect();
        const along = (at, length, pixels) => (at * pixels) / length;
        return [
            along(event.clientX - shown.left, shown.width, width),
            along(event.clientY - shown.top, shown.height, height),
        ];
    };
    const begin = (event) => {
        if (event.button !== 0) return;
        event.preventDefault();
        canvas.current.setPointerCapture(event.pointerId);
        act({ kind: "stroke", points: [place(event)], width: (size / 100) * Math.min(width, height), erases });
    };
    const go = (event) => {
        if (!canvas.current.hasPointerCapture(event.pointerId)) return;
        const passed = event.getCoalescedEvents?.() || [];
        const points = (passed.length ? passed : [event]).map(place);
        setActs((before) => {
            const last = before[before.length - 1];
            return [...before.slice(0, -1), { ...last, points: [...last.points, ...points] }];
        });
    };
    const keys = (event) => {
        if (event.key !== "z" || !(event.ctrlKey || event.metaKey)) return;
        event.preventDefault();
        undo();
    };
    const take = () => {
        setMask(asMask(canvas.current));
        close();
    };
    const hint = "Paint over what is to be drawn anew.";
    return html`<${Dialog} label="The part to redraw" class="painter" close=${close}>
        <div class="painted" onKeyDown=${keys}>
            <div class="easel" style=${{ aspectRatio: `${width} / ${height}`, "--shape": width / height }}>
                <img src=${source.data} alt="" />
                <canvas
                    ref=${canvas}
                    width=${width}
                    height=${height}
                    role="img"
                    aria-label=${hint}
                    onPointerDown=${begin}
                    onPointerMove=${go}
                />
            </div>
            <div class="tools">
                <label>
                    Brush
                    <input
                        type="range"
                        min=${SIZES.smallest}
                        max=${SIZES.largest}
                        value=${size}
                        onInput=${(event) => setSize(Number(event.target.value))}
                    />
                </label>
                <button type="button" class="quiet" aria-pressed=${erases} onClick=${() => setErases(!erases)}>Eraser</button>
                <button type="button" class="quiet" disabled=${acts.length === begun(acts)} onClick=${undo}>Undo</button>
                <button type="button" class="quiet" onClick=${() => act({ kind: "invert" })}>Invert</button>
                <button type="button" class="quiet" onClick=${() => act({ kind: "clear" })}>Clear</button>
                <span class="hint">${hint}</span>
                <button type="button" class="quiet" onClick=${close}>Cancel</button>
                <button type="button" class="main small" onClick=${take}>Use it</button>
            </div>
        </div>
    <//>`;
}

function paint(context, acts) {
    const { canvas } = context;
    Object.assign(context, { lineCap: "round", lineJoin: "round", strokeStyle: COLOUR, fillStyle: COLOUR });
    context.globalCompositeOperation = "source-over";
    context.clearRect(0, 0, canvas.width, canvas.height);
    for (const act of acts) {
        ACTS[act.kind](context, act);
        context.globalCompositeOperation = "source-over";
    }
}

// As the service takes it, white on black, and as it was painted; nothing where nothing is painted.
function asMask(painted) {
    const { width, height } = painted;
    const pixels = painted.getContext("2d").getImageData(0, 0, width, height).data;
    if (!pixels.some((value, at) => at % 4 === 3 && value > 127)) return null;
    const flat = Object.assign(document.createElement("canvas"), { width, height });
    const context = flat.getContext("2d");
    context.drawImage(painted, 0, 0);
    for (const [over, fillStyle] of [["source-in", "white"], ["destination-over", "black"]]) {
        Object.assign(context, { globalCompositeOperation: over, fillStyle });
        context.fillRect(0, 0, width, height);
    }
    return { data: flat.toDataURL("image/png"), painted: painted.toDataURL("image/png") };
}
