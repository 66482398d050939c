"""Settings from `config.toml`, the environment and credential files."""

from daemon.settings.load import REQUIRED_TO_RUN, load_settings
from daemon.settings.model import (
    AdminSettings,
    Advisor,
    ContactHoursSettings,
    ConversationSettings,
    ElevenLabsSettings,
    FollowUpSettings,
    HttpSettings,
    LogSettings,
    MonitorSettings,
    OutboxSettings,
    Secrets,
    Settings,
    StoreSettings,
    TextSettings,
    TransferSettings,
    TwilioSettings,
    WhatsAppSettings,
)
from daemon.settings.problems import Problem, SettingsError

__all__ = [
    "REQUIRED_TO_RUN",
    "AdminSettings",
    "Advisor",
    "ContactHoursSettings",
    "ConversationSettings",
    "ElevenLabsSettings",
    "FollowUpSettings",
    "HttpSettings",
    "LogSettings",
    "MonitorSettings",
    "OutboxSettings",
    "Problem",
    "Secrets",
    "Settings",
    "SettingsError",
    "StoreSettings",
    "TextSettings",
    "TransferSettings",
    "TwilioSettings",
    "WhatsAppSettings",
    "load_settings",
]
