"""The dialect of OpenAI's images: `/v1/images/*` and `/v1/models`."""
