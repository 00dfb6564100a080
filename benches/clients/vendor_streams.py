"""Reads the vendors' example streams with the vendors' official clients.

    pip install openai==3.57.0 anthropic==2.14.0 google-genai==3.6.1
    python benches/clients/vendor_streams.py

A small server plays each `crates/vendors/tests/fixtures/*.sse` to the client of its vendor. What the clients
understand goes to `crates/vendors/tests/fixtures/official_clients.json`, with which the crate's tests compare
what Farthing understands.
"""

import http.server
import json
import pathlib
import threading

import anthropic
import openai
from google import genai

FIXTURES = pathlib.Path(__file__).parents[2] / "crates" / "vendors" / "tests" / "fixtures"
QUESTION = [{"role": "user", "content": "Say hi."}]


class Player(http.server.BaseHTTPRequestHandler):
    stream = b""

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", str(len(self.stream)))
        self.end_headers()
        self.wfile.write(self.stream)

    def log_message(self, *_):
        pass


def read_openai(url):
    client = openai.OpenAI(api_key="x", base_url=url, max_retries=0)
    options = {"include_usage": True}
    with client.chat.completions.stream(model="m", messages=QUESTION, stream_options=options) as stream:
        answer = stream.get_final_completion()
    choice, usage = answer.choices[0], answer.usage
    calls = choice.message.tool_calls or []
    return {
        "text": choice.message.content or "",
        "reasoning": "",
        "calls": [[call.id, call.function.name, json.loads(call.function.arguments)] for call in calls],
        "finish": choice.finish_reason,
        "model": answer.model,
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "cached_tokens": usage.prompt_tokens_details.cached_tokens,
        },
    }


def read_anthropic(url):
    client = anthropic.Anthropic(api_key="x", base_url=url, max_retries=0)
    with client.messages.stream(model="m", max_tokens=100, messages=QUESTION) as stream:
        answer = stream.get_final_message()
    blocks = answer.content
    return {
        "text": "".join(block.text for block in blocks if block.type == "text"),
        "reasoning": "".join(block.thinking for block in blocks if block.type == "thinking"),
        "calls": [[block.id, block.name, block.input] for block in blocks if block.type == "tool_use"],
        "finish": answer.stop_reason,
        "model": answer.model,
        "usage": {
            "input_tokens": answer.usage.input_tokens,
            "output_tokens": answer.usage.output_tokens,
            "cache_read_input_tokens": answer.usage.cache_read_input_tokens,
            "cache_creation_input_tokens": answer.usage.cache_creation_input_tokens,
        },
    }


def read_google(url):
    client = genai.Client(api_key="x", http_options={"base_url": url})
    text, reasoning, calls, finish, usage, model = "", "", [], None, None, None
    for answer in client.models.generate_content_stream(model="m", contents="Say hi."):
        usage, model = answer.usage_metadata, answer.model_version
        if answer.prompt_feedback and answer.prompt_feedback.block_reason:
            finish = answer.prompt_feedback.block_reason.value
        for candidate in answer.candidates or []:
            finish = candidate.finish_reason.value if candidate.finish_reason else finish
            for part in candidate.content.parts or []:
                if part.function_call:
                    calls.append([part.function_call.id, part.function_call.name, part.function_call.args])
                elif part.thought:
                    reasoning += part.text
                else:
                    text += part.text or ""
    return {
        "text": text,
        "reasoning": reasoning,
        "calls": calls,
        "finish": finish,
        "model": model,
        "usage": {
            "promptTokenCount": usage.prompt_token_count,
            "cachedContentTokenCount": usage.cached_content_token_count,
            "candidatesTokenCount": usage.candidates_token_count,
            "thoughtsTokenCount": usage.thoughts_token_count,
        },
    }


READERS = {"openai": read_openai, "anthropic": read_anthropic, "google": read_google}


def read(fixture, url):
    reader = READERS[fixture.stem.split("_")[0]]
    try:
        return reader(url)
    except (anthropic.APIError, openai.APIError, genai.errors.APIError) as error:
        return {"error": type(error).__name__}


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Player)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    clients = {
        "openai": openai.__version__,
        "anthropic": anthropic.__version__,
        "google-genai": genai.__version__,
    }
    streams = {}
    for fixture in sorted(FIXTURES.glob("*.sse")):
        # The comments name the sources; google-genai does not know comments.
        lines = fixture.read_bytes().splitlines(keepends=True)
        Player.stream = b"".join(line for line in lines if not line.startswith(b":"))
        streams[fixture.stem] = read(fixture, url)
    text = json.dumps({"clients": clients, "streams": streams}, indent=2, ensure_ascii=False)
    (FIXTURES / "official_clients.json").write_text(text + "\n", encoding="utf-8")


main()
