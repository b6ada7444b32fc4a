// What the page says once, with what can be done about it. A dialog shows it too, for it lies over the page.
import { set, useStore } from "./store.js";
import { html, useEffect } from "./vendor/preact-htm.js";

export function Notice() {
    const notice = useStore((state) => state.notice);
    const close = () => set({ notice: null });
    useEffect(() => {
        if (!notice) return undefined;
        const timer = setTimeout(close, notice.actions.length ? 15000 : 6000);
        return () => clearTimeout(timer);
    }, [notice]);
    const choose = (act) => () => {
        close();
        act();
    };
    const shown = (each) => html`<div class="notice" key=${each.at}>
        <span>${each.text}</span>
        ${each.actions.map(({ label, act }) => html`<button class="quiet" onClick=${choose(act)}>${label}</button>`)}
        <button class="quiet" aria-label="Close" onClick=${close}>×</button>
    </div>`;
    return html`<div class="notice-place" role="status">${notice && shown(notice)}</div>`;
}
