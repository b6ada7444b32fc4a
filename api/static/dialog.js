// A dialog over the page: it keeps the focus within, ends with Escape or a click beside it, and gives the focus back.
import { Notice } from "./notice.js";
import { html, useEffect, useRef } from "./vendor/preact-htm.js";

export function Dialog({ label, close, children, ...others }) {
    const element = useRef(null);
    useEffect(() => {
        const dialog = element.current;
        dialog.showModal();
        return () => dialog.close();
    }, []);
    const beside = (event) => event.target === element.current && close();
    return html`<dialog ref=${element} aria-label=${label} onClose=${close} onClick=${beside} ...${others}>
        ${children}<${Notice} />
    </dialog>`;
}
