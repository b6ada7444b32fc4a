// An image of the service, small where a small one does. With PRIVATE_RESULTS it is fetched with the key.
import { hasKey, request } from "./api.js";
import { html, useEffect, useState } from "./vendor/preact-htm.js";

const WIDTHS = [192, 384, 768];
export const imagePath = (job, name) => `/images/${job.id}/${encodeURIComponent(name)}`;
export const fetchImage = async (path) => (await request(path)).blob();

// `sizes`: how wide it is shown, as the attribute of that name; without it the image comes at full size.
export function StoredImage({ path, sizes, alt, onLoad, ...others }) {
    const [way, setWay] = useState({ path, by: "address" });
    const [own, setOwn] = useState(null);
    const by = way.path === path ? way.by : "address";

    useEffect(() => {
        if (by !== "key") return undefined;
        let address = null;
        let wanted = true;
        fetchImage(sizes ? `${path}?width=${WIDTHS[1]}` : path).then(
            (blob) => {
                if (!wanted) return;
                address = URL.createObjectURL(blob);
                setOwn(address);
            },
            () => wanted && setWay({ path, by: "none" }),
        );
        return () => {
            wanted = false;
            URL.revokeObjectURL(address);
            setOwn(null);
        };
    }, [path, by]);

    const fail = () => setWay({ path, by: by === "address" && hasKey() ? "key" : "none" });
    if (by === "none")
        return html`<span class="gone" role="img" aria-label=${`Not there any more: ${alt}`}>not there any more</span>`;
    if (by === "key") return own && html`<img src=${own} alt=${alt} onLoad=${onLoad} ...${others} />`;
    const small = sizes && {
        srcset: WIDTHS.map((width) => `${path}?width=${width} ${width}w`).join(", "),
        sizes,
        loading: "lazy",
    };
    return html`<img
        src=${sizes ? `${path}?width=${WIDTHS[1]}` : path}
        alt=${alt}
        decoding="async"
        onLoad=${onLoad}
        onError=${fail}
        ...${small}
        ...${others}
    />`;
}
