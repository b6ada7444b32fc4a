// LoRAs: those that fit the model, each with a weight.
import { Labelled } from "./fields.js";
import { useStore } from "./store.js";
import { modelOf, setValue } from "./values.js";
import { html } from "./vendor/preact-htm.js";

export function LorasField({ about }) {
    const catalogue = useStore((state) => state.catalogue);
    const values = useStore((state) => state.values);
    const chosen = values.loras || [];
    const { family } = modelOf({ catalogue, values });
    const fits = (lora) => !lora.why_not && (!lora.family || lora.family === family);
    const isChosen = (lora) => chosen.some((each) => each.name === lora.name);
    const others = catalogue.loras.filter((lora) => fits(lora) && !isChosen(lora));
    if (!chosen.length && !others.length) return null;
    const choose = (loras) => setValue("loras", loras.length ? loras : undefined);
    const add = ({ target }) => choose([...chosen, { name: target.value, weight: 1 }]);
    const change = (lora) => choose(chosen.map((each) => (each.name === lora.name ? lora : each)));
    const remove = (lora) => choose(chosen.filter((each) => each !== lora));
    const full = chosen.length >= about.maxItems;
    const select = (ties) => html`<select value="" disabled=${full || !others.length} onChange=${add} ...${ties}>
        <option value="">${full ? "No more can be added" : "Add one …"}</option>
        ${others.map((each) => html`<option key=${each.name} value=${each.name}>${each.title}</option>`)}
    </select>`;
    const known = (name) => catalogue.loras.find((each) => each.name === name);
    const words = chosen.flatMap(({ name }) => known(name)?.trigger_words ?? []);
    const hint = words.length ? `In the prompt these call for them: ${words.join(", ")}.` : "";
    return html`<div class="field">
        <${Labelled} name="loras" title=${about.title} hint=${hint} control=${select} />
        ${chosen.map((lora) => html`
            <${Chosen} key=${lora.name} lora=${lora} title=${known(lora.name)?.title || lora.name}
                change=${change} remove=${remove} />`)}
    </div>`;
}

// Both weights change together; one that differs for the text comes with an image that was drawn so.
function Chosen({ lora, title, change, remove }) {
    const weigh = ({ target }) =>
        change({ name: lora.name, ...(target.value !== "" && { weight: Number(target.value) }) });
    return html`<div class="together lora">
        <label for=${`lora-${lora.name}`}>${title}</label>
        <input
            type="number"
            inputmode="decimal"
            id=${`lora-${lora.name}`}
            value=${lora.weight ?? ""}
            step="0.05"
            placeholder="1"
            aria-label=${`Weight of ${title}`}
            onInput=${weigh}
        />
        <button type="button" class="quiet" aria-label=${`Leave out ${title}`} onClick=${() => remove(lora)}>Remove</button>
    </div>`;
}
