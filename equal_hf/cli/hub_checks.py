"""Whether this account may publish what a run makes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from equal_hf.cli.machine_checks import Check
from equal_hf.errors import EqualError
from equal_hf.utils.redaction import mask_text

if TYPE_CHECKING:
    from equal_hf.cli.arguments import RunArguments
    from equal_hf.training.config import EqualConfig


def check_hub(
    repo_id: str | None = None, wanted: bool = False, token: str | None = None, run_dir: str | Path = "."
) -> Check:
    """The Hub token, and whether it may write; asks the Hub, and makes nothing there.

    Args:
        repo_id (`str`, *optional*): The dataset repository that a run would publish to.
        wanted (`bool`, *optional*, defaults to `False`): Whether the run publishes.
        token (`str`, *optional*): The token; the stored one where left out.
        run_dir (`str` or `Path`, *optional*, defaults to `"."`): The run folder.
    """
    from huggingface_hub import HfApi, get_token

    from equal_hf.utils.hub_retry import limit_silence, retry_hub

    status: Literal["note", "problem"] = "problem" if wanted else "note"
    if not (token or get_token()):
        said = "no token (HF_TOKEN, or `hf auth login`): only public repositories can be read"
        return Check("hub", status, said, "hf auth login" if wanted else "")
    limit_silence()
    api = HfApi(token=token)
    try:
        account = retry_hub(api.whoami, "asking the Hub who this is", "hub_token", attempts=1)
        role = account.get("auth", {}).get("accessToken", {}).get("role", "unknown")
        found = f"{account['name']} at {api.endpoint}, token role: {role}"
        if role == "read":
            remedy = f"make a token with write access at {api.endpoint}/settings/tokens"
            return Check("hub", status, f"{found}; it may not publish", remedy)
        if repo_id and "/" in repo_id:
            if api.repo_exists(repo_id, repo_type="dataset"):
                check = _may_publish(api, repo_id, run_dir)
                retry_hub(check, f"checking write access to {repo_id!r}", "hub_dataset_id", attempts=1)
                found += f"; may write to {repo_id}"
            elif (space := repo_id.split("/")[0]) != account["name"] and space not in {
                organisation["name"] for organisation in account.get("orgs", [])
            }:
                return Check(
                    "hub", status, f"{found}; no member of {space}", "set `hub_dataset_id` to a namespace of yours"
                )
    except EqualError as error:
        return Check("hub", status, mask_text(str(error)))  # which says what to do
    except Exception as error:  # whatever the network stack raises, the Hub was not reached
        return Check("hub", status, f"the Hub cannot be asked ({type(error).__name__})", "look at the network")
    return Check("hub", "ok", found)


def _may_publish(api: Any, repo_id: str, run_dir: str | Path) -> Callable[[], None]:
    from equal_hf.publishing.previous_export import HubExport, known_identities

    def check() -> None:
        api.auth_check(repo_id, repo_type="dataset", write=True)
        HubExport.read(api, repo_id).check(known_identities(run_dir))

    return check


def check_publishing(run: RunArguments, args: EqualConfig, model: Any) -> Iterator[Check]:
    """Whether the run may publish; makes the repositories where there are none.

    Args:
        run ([`RunArguments`]): The arguments.
        args ([`EqualConfig`]): The trainer's settings.
        model (`ModelConfig`, *optional*): The model.
    """
    if not args.push_to_hub:
        return
    from equal_hf.publishing import hub
    from equal_hf.utils.hub_retry import limit_silence

    limit_silence()
    token = args.hub_token or os.environ.get("HF_TOKEN")
    model_id = None if model is None else args.hub_model_id or Path(str(args.output_dir)).name
    for repo_id, kind, folder in ((model_id, "model", None), (run.hub_dataset_id, "dataset", args.output_dir)):
        if repo_id is not None:
            try:
                full = hub.check_write_access(
                    repo_id, token, private=args.hub_private_repo, repo_type=kind, run_dir=folder
                )
                yield Check("hub", "ok", f"may write to {full}")
            except EqualError as error:
                yield Check("hub", "problem", str(error))
