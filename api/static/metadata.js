// What an image was made with, as the service reads it: by this one, or by another program.
import { read } from "./api.js";
import { dataOf } from "./values.js";

// The parameters by the names of the wire, and sentences about what is left out; null where the image does not tell.
export async function metadataOf(file) {
    const { parameters, warnings } = await read("/metadata", { json: { image: await dataOf(file) } });
    return Object.keys(parameters).length ? { parameters, warnings } : null;
}
