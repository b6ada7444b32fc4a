// Where a person gives an image: it is dropped, pasted while one is in there, or chosen as a file.
import { notify } from "./store.js";
import { html, useState } from "./vendor/preact-htm.js";

export const imageIn = (transfer) => [...(transfer?.files || [])].find((file) => file.type.startsWith("image/"));

// `take` gets the file.
export function Droppable({ class: own, take, children, ...others }) {
    const [over, setOver] = useState(false);
    const drop = (event) => {
        event.preventDefault();
        event.stopPropagation(); // elsewhere on the page a dropped image is read for its parameters
        setOver(false);
        const file = imageIn(event.dataTransfer);
        if (file) take(file);
        else notify("That is not an image.");
    };
    const hover = (event) => {
        event.preventDefault();
        setOver(true);
    };
    const paste = (event) => {
        const file = imageIn(event.clipboardData);
        if (!file) return;
        event.stopPropagation(); // elsewhere it is the image to start from
        take(file);
    };
    return html`<div
        class=${`field droppable ${own} ${over ? "over" : ""}`}
        onDrop=${drop}
        onDragOver=${hover}
        onDragLeave=${() => setOver(false)}
        onPaste=${paste}
        ...${others}
    >
        ${children}
    </div>`;
}

export function ChooseImage({ id, title, take }) {
    const choose = ({ target }) => target.files[0] && take(target.files[0]);
    return html`<label class="choose">
        <input type="file" id=${id} accept="image/*" onChange=${choose} />
        <span><strong>${title}</strong> drop it here, paste it, or choose a file</span>
    </label>`;
}
