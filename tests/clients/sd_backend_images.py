"""sd-backend-client, which reads every answer with strict models: all that it has of A1111's own API."""

from a1111_checks import FULL_URL, KEY, PROMPT, URL, USER, failure
from PIL import Image
from sd_backend_client import (
    A1111Webservice,
    AuthError,
    DiffusionRequestBody,
    GenerationError,
    GenerationStatus,
    ServerError,
    connect_to_backend,
)


def body(**asked: object) -> DiffusionRequestBody:
    few = {"prompt": PROMPT, "width": 128, "height": 128, "steps": 4, "seed": 7}
    return DiffusionRequestBody(**few | asked)


def connected(url: str = URL, key: str = KEY) -> A1111Webservice:
    client = connect_to_backend(url, credentials_provider=lambda: (USER, key))
    assert isinstance(client, A1111Webservice)
    return client


client = connected()
found = client.get_capabilities()
assert (found.controlnet, found.scheduler, found.interrogate, found.ultimate_upscale) == (True, True, False, False)
assert "demo" in [each.name for each in client.list_checkpoints()]
assert {"euler_ancestral", "dpmpp_2m", "ddim"} <= {each.name for each in client.list_samplers()}
assert [each.name for each in client.list_upscalers()] == ["Lanczos", "Nearest"]
for listed in (client.list_vaes, client.list_loras, client.list_hypernetworks):
    assert listed() == []
assert client.get_styles() == client.get_script_info() == client.get_latent_upscale_modes() == []
assert client.get_config()["sd_model_checkpoint"] == "demo"
client.set_config({"sd_model_checkpoint": "demo"})
for refreshed in (client.refresh_checkpoints, client.refresh_vae, client.refresh_loras):
    refreshed()
assert client.progress_check().state.job_count == 0
client.interrupt()

first = client.submit_txt2img(body(sampler="dpmpp_2m", scheduler="karras", batch_size=2)).wait()
again = client.submit_txt2img(body(sampler="dpmpp_2m", scheduler="karras", batch_size=2)).wait()
assert [image.size for image in first.images] == [(128, 128)] * 2
assert first.seeds == [7, 8]
assert [image.tobytes() for image in first.images] == [image.tobytes() for image in again.images]
assert first.raw_info.sampler_name == "DPM++ 2M"
assert first.raw_info.sd_model_name == "demo"
redrawn = client.submit_img2img(body(init_images=[first.images[0]], denoising_strength=0.5)).wait()
assert redrawn.images[0].size == (128, 128)
larger = client.submit_upscale(first.images[0], 200, 160).wait()
assert larger.images[0].size == (200, 160)
assert client.txt2img(body(width=640, height=320, steps=1))["images"][0].size == (640, 320)

failure(lambda: connected(key="wrong"), AuthError)
failure(lambda: client.txt2img(body(sd_model_name="nothing")), ServerError, "422", "sd_model_checkpoint")
failure(lambda: client.txt2img(body(width=10**6)), ServerError, "422", "width")
failure(lambda: client.txt2img(body(sampler="uni_pc")), ServerError, "404", "Sampler not found")
failure(lambda: client.txt2img(body(enable_hr=True, hr_upscaler="4x")), ServerError, "422", "hr_upscaler")
masked = body(init_images=[first.images[0]], mask=Image.new("L", (128, 128), 255))
assert client.submit_img2img(masked).wait().images[0].size == (128, 128)
failure(lambda: connected(url=FULL_URL).txt2img(body()), ServerError, "429")

handle = client.submit_txt2img(body(width=256, height=256, steps=400))
while handle.poll().status is not GenerationStatus.ACTIVE or client.progress_check().progress == 0:
    pass
assert handle.cancel()
failure(handle.wait, GenerationError)
assert client.progress_check().state.job_count == 0
