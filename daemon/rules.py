"""What the settings mean to each part: its rules and limits."""

from datetime import timedelta

from actors.campaigns import BreakerRules
from actors.conversation.agent_access import AccessRules
from actors.conversation.turn import CoalescingRules
from actors.conversation.turn_in_flight import TurnRules
from actors.conversation.world import ConversationRules
from actors.live_call.course import CallRules
from actors.live_call.mixing import BedRules
from actors.live_call.voicemail import VoicemailRules
from actors.live_call.world import LiveCallRules
from actors.messages import Purpose
from actors.watch.call_intake import FollowUpPolicy
from actors.watch.call_monitor import MonitorRules
from actors.watch.holds import HoldRules
from actors.watch.inbox_check import InboxCheckRules
from actors.watch.outbox import OutboxRules
from daemon.httpserver import ServerLimits
from daemon.settings import Settings
from daemon.web.admin.lockout import LockoutRules


def server_limits(settings: Settings) -> ServerLimits:
    http = settings.http
    return ServerLimits(
        connections_max=http.connections_max,
        head_timeout_s=http.head_timeout_s,
        body_timeout_s=http.request_timeout_s,
        write_timeout_s=http.request_timeout_s,
        keep_alive_s=http.keep_alive_s,
        drain_s=http.drain_s,
    )


def lockout_rules(settings: Settings) -> LockoutRules:
    admin = settings.admin
    return LockoutRules(
        tries_max=admin.guesses_max, all_tries_max=admin.all_guesses_max, lock_max_s=admin.lock_max_s
    )


def follow_up_policy(settings: Settings) -> FollowUpPolicy:
    return FollowUpPolicy(
        outcomes=settings.follow_up.outcomes,
        lookback=timedelta(hours=settings.monitor.lookback_hours),
        analysis_timeout_s=settings.monitor.analysis_timeout_s,
        text_agent_id=settings.elevenlabs.text_agent_id,
        text_agents=settings.elevenlabs.text_agents,
    )


def monitor_rules(settings: Settings) -> MonitorRules:
    return MonitorRules(
        poll_every_s=settings.monitor.poll_every_s,
        lookback=timedelta(hours=settings.monitor.lookback_hours),
        details_concurrency=settings.monitor.details_concurrency,
    )


def access_rules(settings: Settings) -> AccessRules:
    elevenlabs = settings.elevenlabs
    return AccessRules(
        connects_per_second=elevenlabs.connects_per_second,
        refused_retry_first_s=elevenlabs.refused_retry_first_s,
        refused_retry_max_s=elevenlabs.refused_retry_max_s,
    )


def conversation_rules(settings: Settings) -> ConversationRules:
    conversation, whatsapp = settings.conversation, settings.whatsapp
    return ConversationRules(
        turn=TurnRules(
            reply_timeout_s=conversation.reply_timeout_s,
            settle_s=conversation.settle_s,
            attempts_max=conversation.attempts_max,
            retry_first_s=conversation.retry_first_s,
            retry_max_s=conversation.retry_max_s,
        ),
        coalescing=CoalescingRules(
            quiet_s=conversation.coalesce_s,
            max_s=conversation.coalesce_max_s,
            per_minute_max=conversation.inbound_per_minute,
        ),
        opens_socket_at_call_end=conversation.open_socket == "call_end",
        idle_close_s=conversation.idle_close_s,
        retire_after_s=conversation.retire_after_s,
        failed_turn_retry_s=conversation.unanswered_retry_first_s,
        failed_turn_retry_max_s=conversation.unanswered_retry_max_s,
        history_messages=conversation.history_messages,
        turn_text_max=conversation.turn_text_max,
        template_sids={
            Purpose.OPENING: whatsapp.opening_template_sid,
            Purpose.ANSWER: whatsapp.reopen_template_sid,
            Purpose.FALLBACK: whatsapp.reopen_template_sid,
        },
    )


def outbox_rules(settings: Settings) -> OutboxRules:
    """A message's age counts from its claim, the settings from the end of its request."""
    outbox, request_s = settings.outbox, settings.twilio.request_timeout_s
    return OutboxRules(
        messages_per_second=settings.whatsapp.messages_per_second,
        concurrency=outbox.concurrency,
        person_burst=settings.whatsapp.person_burst,
        person_every_s=settings.whatsapp.person_every_s,
        sweep_every_s=outbox.sweep_every_s,
        look_up_after_s=request_s + outbox.settle_unknown_after_s,
        certain_after_s=request_s + outbox.certain_after_s,
        retry_first_s=outbox.retry_first_s,
        retry_max_s=outbox.retry_max_s,
        give_up_after_s=outbox.give_up_after_s,
    )


def hold_rules(settings: Settings) -> HoldRules:
    outbox = settings.outbox
    return HoldRules(
        breaker=BreakerRules(
            openings=outbox.breaker_openings,
            openings_min=outbox.breaker_openings_min,
            failed_share=outbox.breaker_failed_share,
            pause_s=outbox.breaker_pause_s,
            probes=outbox.breaker_probes,
        ),
        give_up_after_s=outbox.give_up_after_s,
    )


def inbox_check_rules(settings: Settings) -> InboxCheckRules:
    return InboxCheckRules(
        every_s=settings.whatsapp.missed_check_every_s,
        missed_after_s=settings.whatsapp.missed_after_s,
        lookback=timedelta(hours=settings.monitor.lookback_hours),
        default_agent_id=settings.elevenlabs.text_agent_id,
    )


def live_call_rules(settings: Settings) -> LiveCallRules:
    voice = settings.voice
    return LiveCallRules(
        steps=CallRules(
            ring_s=settings.transfer.ring_timeout_s,
            agent_join_s=voice.agent_join_s,
            gate_s=voice.accept_s,
            call_max_s=voice.call_max_s,
        ),
        agent_id=settings.elevenlabs.voice_agent_id,
        advisor_talk_max_s=voice.advisor_talk_max_s,
        history_messages=settings.conversation.history_messages,
        follows_up=voice.follow_up,
    )


def voicemail_rules(settings: Settings) -> VoicemailRules:
    voice = settings.voice
    return VoicemailRules(
        link_hours=voice.recording_link_hours,
        template_sid=settings.transfer.message_template_sid,
        text_agent_id=settings.elevenlabs.text_agent_id,
        # Twilio's MP3 has 32 kbit/s at most; twice that for the longest message, and room for what it adds to it.
        max_bytes=voice.recording_max_s * 8_000 + 1024**2,
        keeps_at_twilio=voice.keep_recordings_at_twilio,
    )


def bed_rules(settings: Settings) -> BedRules:
    voice = settings.voice
    return BedRules(
        level=voice.music_level,
        ducked_level=voice.music_ducked_level,
        fade_s=0.8,
        duck_s=0.15,
        release_s=0.6,
    )
