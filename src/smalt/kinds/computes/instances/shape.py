"""The shape of what a PUT says of an instance; `settings.py` and `times.py` say what of it can be."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from smalt.arm.triggers import TriggerProperties
from smalt.arm.validation import Properties


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("no NUL can stand in it")
    return text


_Text = Annotated[str, AfterValidator(_no_nul), Field(max_length=64 << 10)]
SCHEDULES_MOST, SERVICES_MOST = 20, 20


class Script(Properties):
    script_source: _Text | None = None
    script_data: _Text | None = None
    script_arguments: _Text | None = None
    timeout: _Text | None = None


class Scripts(Properties):
    creation_script: Script | None = None
    startup_script: Script | None = None


class SetupScripts(Properties):
    scripts: Scripts | None = None


class Image(Properties):
    reference: _Text | None = None


class Endpoint(Properties):
    target: int | None = None


class CustomService(Properties):
    name: _Text | None = None
    image: Image | None = None
    command: _Text | None = None
    endpoints: list[Endpoint] | None = None


class When(TriggerProperties):
    trigger_type: str = ""  # it stands beside it


class StartStop(Properties):
    id: Annotated[str, Field(max_length=256)] | None = None
    action: str | None = None
    status: str | None = None
    trigger_type: str | None = None
    cron: When | None = None
    recurrence: When | None = None


class Schedules(Properties):
    compute_start_stop: Annotated[list[StartStop], Field(max_length=SCHEDULES_MOST)] | None = None


class AssignedUser(Properties):
    object_id: str | None = None


class Personal(Properties):
    assigned_user: AssignedUser | None = None


class InstanceProperties(Properties):
    enable_sso: bool | None = Field(None, alias="enableSSO")
    idle_time_before_shutdown: str | None = None
    schedules: Schedules | None = None
    setup_scripts: SetupScripts | None = None
    custom_services: Annotated[list[CustomService], Field(max_length=SERVICES_MOST)] | None = None
    personal_compute_instance_settings: Personal | None = None
