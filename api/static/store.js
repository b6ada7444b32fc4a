// One value for all parts of the page, and a hook that renders a part anew when its slice of it changes.
import { useEffect, useState } from "./vendor/preact-htm.js";

let value = {};
const listeners = new Set();

export const get = () => value;

export function set(change) {
    value = { ...value, ...change };
    for (const listener of [...listeners]) listener();
}

export function useStore(select) {
    const [, render] = useState(0);
    const slice = select(value);
    useEffect(() => {
        let seen = slice;
        const listener = () => {
            const now = select(value);
            if (!Object.is(now, seen)) {
                seen = now;
                render((count) => count + 1);
            }
        };
        listeners.add(listener);
        listener(); // what changed since this was rendered
        return () => listeners.delete(listener);
    }, []);
    return slice;
}

// What this browser keeps. It may refuse (private mode, no room); the page works without.
export const kept = {
    read(name, otherwise = null) {
        try {
            return JSON.parse(localStorage.getItem(name)) ?? otherwise;
        } catch {
            return otherwise;
        }
    },
    write(name, what) {
        try {
            localStorage.setItem(name, JSON.stringify(what));
            return true;
        } catch {
            return false;
        }
    },
    remove(name) {
        try {
            localStorage.removeItem(name);
        } catch {
            // it was never there
        }
    },
    names(prefix) {
        try {
            return Object.keys(localStorage).filter((name) => name.startsWith(prefix));
        } catch {
            return [];
        }
    },
};

// Says something once: for everybody at the foot of the page, or only for those who listen to it.
export const notify = (text, actions = []) => set({ notice: { text, actions, at: Date.now() } });
export const announce = (text) => set({ announcement: text });
