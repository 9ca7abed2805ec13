"""Kafka's error codes as exceptions, and fastlog's own errors.

Source: the error table of the Kafka protocol guide, as of Kafka 4.3. Each code has one exception class whose docstring is its
message where none is given; `retriable` says whether a client may repeat the request unchanged. Code 0 (NONE) is no exception.
Broker code takes codes from the classes (`UnknownTopicOrPartition.code`); clients go from code to exception by `error_for_code`.

What has no code, and what a person did wrong, is in `base_errors`, for those who need no more; all of it can be had here too.
This module imports nothing else of fastlog, and is imported by nearly everything: it stays under 5 ms.
"""

from __future__ import annotations

from fastlog.base_errors import FastlogError as FastlogError  # noqa: PLC0414
from fastlog.base_errors import UsageError as UsageError  # noqa: PLC0414
from fastlog.base_errors import cannot_listen as cannot_listen  # noqa: PLC0414
from fastlog.base_errors import cannot_use as cannot_use  # noqa: PLC0414

NONE = 0
"""The error code that says all is well."""


class StorageFailed(FastlogError):
    """A log directory can no longer be written or read; it is fenced until an operator looks."""


class CorruptRecord(FastlogError):
    """Bytes on disk that are not what was written: names topic, partition, offset, file and position."""


class DecodeError(FastlogError, ValueError):
    """Bytes that are not the message they should be, at whatever place: the only error that decoding raises."""


class EncodeError(FastlogError, ValueError):
    """A message that its version cannot carry: a field it lacks, a null it does not allow, a number out of range."""


class KafkaError(FastlogError):
    """An error that the protocol has a code for; by itself it stands for a code that this version of fastlog does not know.

    `code` and `name` are Kafka's, `message` is one line for people, `retriable` tells whether the same request may succeed later.
    """

    code: int = -1
    name: str = "UNKNOWN_SERVER_ERROR"
    retriable: bool = False
    message: str

    def __init__(self, message: str | None = None) -> None:
        self.given_message = message
        """What was said of this one case, None when nothing was: then some answers have no text, as Kafka's."""
        self.message = self._default_message() if message is None else message
        super().__init__(self.message)

    @classmethod
    def _default_message(cls) -> str:
        return cls.__doc__ or cls.name  # there are no docstrings under -OO

    def __init_subclass__(cls) -> None:
        if "code" in cls.__dict__:
            _CLASS_BY_CODE[cls.code] = cls


class RetriableError(KafkaError):
    """The same request may succeed a little later."""

    retriable = True


class StaleMetadataError(RetriableError):
    """The same request may succeed after the client has asked for metadata again."""


class AuthorizationError(KafkaError):
    """The principal may not do this."""


_CLASS_BY_CODE: dict[int, type[KafkaError]] = {}


def error_class(code: int) -> type[KafkaError] | None:
    """Return the exception class of an error code; None for 0 and for codes that are not known."""
    return _CLASS_BY_CODE.get(code)


def error_for_code(code: int, message: str | None = None) -> KafkaError:
    """Return an exception for an error code other than 0, with the server's message where it gave one.

    A code that is not known gives a plain KafkaError with that code.
    """
    if code == NONE:
        raise ValueError("error code 0 is no error")
    known = _CLASS_BY_CODE.get(code)
    if known is not None:
        return known(message)
    error = KafkaError(message if message is not None else f"The server answered with error code {code}.")
    error.code, error.name = code, f"UNKNOWN_ERROR_CODE_{code}"
    return error


class UnknownServerError(KafkaError):
    """The server failed in a way it did not foresee; its log says more."""

    code = -1
    name = "UNKNOWN_SERVER_ERROR"


class OffsetOutOfRange(KafkaError):
    """The offset lies before the log's start or past its end."""

    code = 1
    name = "OFFSET_OUT_OF_RANGE"


class CorruptMessage(RetriableError):
    """The records are not valid: checksum, counts, sizes or a missing key of a compacted topic."""

    code = 2
    name = "CORRUPT_MESSAGE"


class UnknownTopicOrPartition(StaleMetadataError):
    """The broker asked knows no such topic or partition."""

    code = 3
    name = "UNKNOWN_TOPIC_OR_PARTITION"


class InvalidFetchSize(KafkaError):
    """The requested fetch size cannot be right."""

    code = 4
    name = "INVALID_FETCH_SIZE"


class LeaderNotAvailable(StaleMetadataError):
    """The partition has no leader at the moment."""

    code = 5
    name = "LEADER_NOT_AVAILABLE"


class NotLeaderOrFollower(StaleMetadataError):
    """The broker asked does not lead the partition, or holds no replica of it."""

    code = 6
    name = "NOT_LEADER_OR_FOLLOWER"


class RequestTimedOut(RetriableError):
    """The request was not fulfilled within its time."""

    code = 7
    name = "REQUEST_TIMED_OUT"


class BrokerNotAvailable(KafkaError):
    """The broker cannot be reached."""

    code = 8
    name = "BROKER_NOT_AVAILABLE"


class ReplicaNotAvailable(StaleMetadataError):
    """The replica is not ready for this partition."""

    code = 9
    name = "REPLICA_NOT_AVAILABLE"


class MessageTooLarge(KafkaError):
    """The batch is larger than the topic allows (max.message.bytes)."""

    code = 10
    name = "MESSAGE_TOO_LARGE"


class StaleControllerEpoch(KafkaError):
    """The sender has been succeeded as controller."""

    code = 11
    name = "STALE_CONTROLLER_EPOCH"


class OffsetMetadataTooLarge(KafkaError):
    """The metadata string committed with the offset is too long."""

    code = 12
    name = "OFFSET_METADATA_TOO_LARGE"


class NetworkException(StaleMetadataError):
    """The connection ended before the answer came."""

    code = 13
    name = "NETWORK_EXCEPTION"


class CoordinatorLoadInProgress(RetriableError):
    """The coordinator is still reading its state."""

    code = 14
    name = "COORDINATOR_LOAD_IN_PROGRESS"


class CoordinatorNotAvailable(RetriableError):
    """No coordinator can be named at the moment."""

    code = 15
    name = "COORDINATOR_NOT_AVAILABLE"


class NotCoordinator(RetriableError):
    """The broker asked is not the coordinator that was asked for."""

    code = 16
    name = "NOT_COORDINATOR"


class InvalidTopic(KafkaError):
    """The topic's name is not allowed, or the topic may not be used so."""

    code = 17
    name = "INVALID_TOPIC_EXCEPTION"


class RecordListTooLarge(KafkaError):
    """The batch is larger than a segment may be (segment.bytes)."""

    code = 18
    name = "RECORD_LIST_TOO_LARGE"


class NotEnoughReplicas(RetriableError):
    """Nothing was written: fewer replicas are in sync than min.insync.replicas asks for."""

    code = 19
    name = "NOT_ENOUGH_REPLICAS"


class NotEnoughReplicasAfterAppend(RetriableError):
    """The records were written, but to fewer in-sync replicas than min.insync.replicas asks for."""

    code = 20
    name = "NOT_ENOUGH_REPLICAS_AFTER_APPEND"


class InvalidRequiredAcks(KafkaError):
    """acks must be -1, 0 or 1."""

    code = 21
    name = "INVALID_REQUIRED_ACKS"


class IllegalGeneration(KafkaError):
    """The group has moved on to another generation."""

    code = 22
    name = "ILLEGAL_GENERATION"


class InconsistentGroupProtocol(KafkaError):
    """The member and its group have no protocol in common."""

    code = 23
    name = "INCONSISTENT_GROUP_PROTOCOL"


class InvalidGroupId(KafkaError):
    """The group id is not allowed."""

    code = 24
    name = "INVALID_GROUP_ID"


class UnknownMemberId(KafkaError):
    """The group has no such member."""

    code = 25
    name = "UNKNOWN_MEMBER_ID"


class InvalidSessionTimeout(KafkaError):
    """The session timeout is outside of what the broker allows."""

    code = 26
    name = "INVALID_SESSION_TIMEOUT"


class RebalanceInProgress(KafkaError):
    """The group is rebalancing; join it again."""

    code = 27
    name = "REBALANCE_IN_PROGRESS"


class InvalidCommitOffsetSize(KafkaError):
    """The offset commit is larger than may be stored."""

    code = 28
    name = "INVALID_COMMIT_OFFSET_SIZE"


class TopicAuthorizationFailed(AuthorizationError):
    """Not authorised for the topic."""

    code = 29
    name = "TOPIC_AUTHORIZATION_FAILED"


class GroupAuthorizationFailed(AuthorizationError):
    """Not authorised for the group."""

    code = 30
    name = "GROUP_AUTHORIZATION_FAILED"


class ClusterAuthorizationFailed(AuthorizationError):
    """Not authorised for the cluster."""

    code = 31
    name = "CLUSTER_AUTHORIZATION_FAILED"


class InvalidTimestamp(KafkaError):
    """A record's timestamp is outside of what the topic allows."""

    code = 32
    name = "INVALID_TIMESTAMP"


class UnsupportedSaslMechanism(KafkaError):
    """The SASL mechanism is not offered here."""

    code = 33
    name = "UNSUPPORTED_SASL_MECHANISM"


class IllegalSaslState(KafkaError):
    """The request does not fit the state of authentication."""

    code = 34
    name = "ILLEGAL_SASL_STATE"


class UnsupportedVersion(KafkaError):
    """That version of the request is not spoken here."""

    code = 35
    name = "UNSUPPORTED_VERSION"


class TopicAlreadyExists(KafkaError):
    """A topic of that name exists already."""

    code = 36
    name = "TOPIC_ALREADY_EXISTS"


class InvalidPartitions(KafkaError):
    """The number of partitions is not allowed."""

    code = 37
    name = "INVALID_PARTITIONS"


class InvalidReplicationFactor(KafkaError):
    """The replication factor is below 1 or above the number of brokers."""

    code = 38
    name = "INVALID_REPLICATION_FACTOR"


class InvalidReplicaAssignment(KafkaError):
    """The assignment of replicas is not valid."""

    code = 39
    name = "INVALID_REPLICA_ASSIGNMENT"


class InvalidConfig(KafkaError):
    """An option has an unknown name or a value that is not allowed."""

    code = 40
    name = "INVALID_CONFIG"


class NotController(RetriableError):
    """The broker asked is not the controller."""

    code = 41
    name = "NOT_CONTROLLER"


class InvalidRequest(KafkaError):
    """The request contradicts itself or the protocol."""

    code = 42
    name = "INVALID_REQUEST"


class UnsupportedForMessageFormat(KafkaError):
    """The record format in use cannot do this."""

    code = 43
    name = "UNSUPPORTED_FOR_MESSAGE_FORMAT"


class PolicyViolation(KafkaError):
    """The request breaks a rule that the operator has set."""

    code = 44
    name = "POLICY_VIOLATION"


class OutOfOrderSequenceNumber(KafkaError):
    """The batch does not follow on the producer's last sequence number."""

    code = 45
    name = "OUT_OF_ORDER_SEQUENCE_NUMBER"


class DuplicateSequenceNumber(KafkaError):
    """The batch's sequence number has been used before."""

    code = 46
    name = "DUPLICATE_SEQUENCE_NUMBER"


class InvalidProducerEpoch(KafkaError):
    """The producer's epoch is old."""

    code = 47
    name = "INVALID_PRODUCER_EPOCH"


class InvalidTxnState(KafkaError):
    """The transaction is not in a state that allows this."""

    code = 48
    name = "INVALID_TXN_STATE"


class InvalidProducerIdMapping(KafkaError):
    """The producer id does not belong to this transactional id."""

    code = 49
    name = "INVALID_PRODUCER_ID_MAPPING"


class InvalidTransactionTimeout(KafkaError):
    """The transaction timeout is longer than the broker allows."""

    code = 50
    name = "INVALID_TRANSACTION_TIMEOUT"


class ConcurrentTransactions(RetriableError):
    """Another step of the same transaction is still under way."""

    code = 51
    name = "CONCURRENT_TRANSACTIONS"


class TransactionCoordinatorFenced(KafkaError):
    """The transaction coordinator that wrote the marker has been succeeded."""

    code = 52
    name = "TRANSACTION_COORDINATOR_FENCED"


class TransactionalIdAuthorizationFailed(AuthorizationError):
    """Not authorised for the transactional id."""

    code = 53
    name = "TRANSACTIONAL_ID_AUTHORIZATION_FAILED"


class SecurityDisabled(KafkaError):
    """No authorizer is set up on this cluster."""

    code = 54
    name = "SECURITY_DISABLED"


class OperationNotAttempted(KafkaError):
    """Not tried, because another part of the same request failed."""

    code = 55
    name = "OPERATION_NOT_ATTEMPTED"


class KafkaStorageError(StaleMetadataError):
    """The broker cannot read or write the partition's log directory."""

    code = 56
    name = "KAFKA_STORAGE_ERROR"


class LogDirNotFound(KafkaError):
    """The broker has no such log directory."""

    code = 57
    name = "LOG_DIR_NOT_FOUND"


class SaslAuthenticationFailed(KafkaError):
    """The credentials were not accepted."""

    code = 58
    name = "SASL_AUTHENTICATION_FAILED"


class UnknownProducerId(KafkaError):
    """The broker holds no state of this producer id."""

    code = 59
    name = "UNKNOWN_PRODUCER_ID"


class ReassignmentInProgress(KafkaError):
    """The partition is being moved already."""

    code = 60
    name = "REASSIGNMENT_IN_PROGRESS"


class DelegationTokenAuthDisabled(KafkaError):
    """Delegation tokens are not enabled."""

    code = 61
    name = "DELEGATION_TOKEN_AUTH_DISABLED"


class DelegationTokenNotFound(KafkaError):
    """No such delegation token."""

    code = 62
    name = "DELEGATION_TOKEN_NOT_FOUND"


class DelegationTokenOwnerMismatch(KafkaError):
    """The principal neither owns the token nor may renew it."""

    code = 63
    name = "DELEGATION_TOKEN_OWNER_MISMATCH"


class DelegationTokenRequestNotAllowed(KafkaError):
    """Delegation tokens cannot be asked for over this kind of connection."""

    code = 64
    name = "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED"


class DelegationTokenAuthorizationFailed(AuthorizationError):
    """Not authorised for the delegation token."""

    code = 65
    name = "DELEGATION_TOKEN_AUTHORIZATION_FAILED"


class DelegationTokenExpired(KafkaError):
    """The delegation token has expired."""

    code = 66
    name = "DELEGATION_TOKEN_EXPIRED"


class InvalidPrincipalType(KafkaError):
    """Principals of that type are not supported."""

    code = 67
    name = "INVALID_PRINCIPAL_TYPE"


class NonEmptyGroup(KafkaError):
    """The group still has members."""

    code = 68
    name = "NON_EMPTY_GROUP"


class GroupIdNotFound(KafkaError):
    """No such group."""

    code = 69
    name = "GROUP_ID_NOT_FOUND"


class FetchSessionIdNotFound(RetriableError):
    """The broker has no such fetch session (any more)."""

    code = 70
    name = "FETCH_SESSION_ID_NOT_FOUND"


class InvalidFetchSessionEpoch(RetriableError):
    """The fetch session is at another epoch."""

    code = 71
    name = "INVALID_FETCH_SESSION_EPOCH"


class ListenerNotFound(StaleMetadataError):
    """The leader has no listener of the name that this request came in by."""

    code = 72
    name = "LISTENER_NOT_FOUND"


class TopicDeletionDisabled(KafkaError):
    """Topics may not be deleted here (delete.topic.enable)."""

    code = 73
    name = "TOPIC_DELETION_DISABLED"


class FencedLeaderEpoch(StaleMetadataError):
    """The request's leader epoch is older than the partition's."""

    code = 74
    name = "FENCED_LEADER_EPOCH"


class UnknownLeaderEpoch(RetriableError):
    """The request's leader epoch is newer than this broker knows."""

    code = 75
    name = "UNKNOWN_LEADER_EPOCH"


class UnsupportedCompressionType(KafkaError):
    """The client's version cannot read the partition's compression."""

    code = 76
    name = "UNSUPPORTED_COMPRESSION_TYPE"


class StaleBrokerEpoch(KafkaError):
    """The broker has registered anew since."""

    code = 77
    name = "STALE_BROKER_EPOCH"


class OffsetNotAvailable(RetriableError):
    """The new leader's high watermark has yet to catch up."""

    code = 78
    name = "OFFSET_NOT_AVAILABLE"


class MemberIdRequired(KafkaError):
    """Join again with the member id that came with this answer."""

    code = 79
    name = "MEMBER_ID_REQUIRED"


class PreferredLeaderNotAvailable(StaleMetadataError):
    """The preferred leader cannot lead at the moment."""

    code = 80
    name = "PREFERRED_LEADER_NOT_AVAILABLE"


class GroupMaxSizeReached(KafkaError):
    """The group has as many members as it may have."""

    code = 81
    name = "GROUP_MAX_SIZE_REACHED"


class FencedInstanceId(KafkaError):
    """Another consumer has joined with the same group.instance.id."""

    code = 82
    name = "FENCED_INSTANCE_ID"


class EligibleLeadersNotAvailable(StaleMetadataError):
    """No replica that may lead can be reached."""

    code = 83
    name = "ELIGIBLE_LEADERS_NOT_AVAILABLE"


class ElectionNotNeeded(StaleMetadataError):
    """The partition has the leader that was asked for."""

    code = 84
    name = "ELECTION_NOT_NEEDED"


class NoReassignmentInProgress(KafkaError):
    """The partition is not being moved."""

    code = 85
    name = "NO_REASSIGNMENT_IN_PROGRESS"


class GroupSubscribedToTopic(KafkaError):
    """The group still consumes the topic, so its offsets stay."""

    code = 86
    name = "GROUP_SUBSCRIBED_TO_TOPIC"


class InvalidRecord(KafkaError):
    """The broker's checks refuse a record of the batch."""

    code = 87
    name = "INVALID_RECORD"


class UnstableOffsetCommit(RetriableError):
    """Offsets of a pending transaction stand in the way."""

    code = 88
    name = "UNSTABLE_OFFSET_COMMIT"


class ThrottlingQuotaExceeded(RetriableError):
    """The quota is used up; wait for the throttle time."""

    code = 89
    name = "THROTTLING_QUOTA_EXCEEDED"


class ProducerFenced(KafkaError):
    """A newer producer uses the same transactional id."""

    code = 90
    name = "PRODUCER_FENCED"


class ResourceNotFound(KafkaError):
    """The request names something that does not exist."""

    code = 91
    name = "RESOURCE_NOT_FOUND"


class DuplicateResource(KafkaError):
    """The request names the same thing twice."""

    code = 92
    name = "DUPLICATE_RESOURCE"


class UnacceptableCredential(KafkaError):
    """The credential does not meet the rules."""

    code = 93
    name = "UNACCEPTABLE_CREDENTIAL"


class InconsistentVoterSet(KafkaError):
    """Sender and receiver disagree on who may vote."""

    code = 94
    name = "INCONSISTENT_VOTER_SET"


class InvalidUpdateVersion(KafkaError):
    """That version cannot be set."""

    code = 95
    name = "INVALID_UPDATE_VERSION"


class FeatureUpdateFailed(KafkaError):
    """The finalized features could not be changed."""

    code = 96
    name = "FEATURE_UPDATE_FAILED"


class PrincipalDeserializationFailure(KafkaError):
    """The principal of a forwarded request cannot be read."""

    code = 97
    name = "PRINCIPAL_DESERIALIZATION_FAILURE"


class SnapshotNotFound(KafkaError):
    """No such snapshot."""

    code = 98
    name = "SNAPSHOT_NOT_FOUND"


class PositionOutOfRange(KafkaError):
    """The position is outside of the snapshot."""

    code = 99
    name = "POSITION_OUT_OF_RANGE"


class UnknownTopicId(StaleMetadataError):
    """The broker asked knows no topic of that id."""

    code = 100
    name = "UNKNOWN_TOPIC_ID"


class DuplicateBrokerRegistration(KafkaError):
    """The broker id is in use."""

    code = 101
    name = "DUPLICATE_BROKER_REGISTRATION"


class BrokerIdNotRegistered(KafkaError):
    """No broker is registered under that id."""

    code = 102
    name = "BROKER_ID_NOT_REGISTERED"


class InconsistentTopicId(StaleMetadataError):
    """The log belongs to another topic id than the request's."""

    code = 103
    name = "INCONSISTENT_TOPIC_ID"


class InconsistentClusterId(KafkaError):
    """The request is meant for another cluster."""

    code = 104
    name = "INCONSISTENT_CLUSTER_ID"


class TransactionalIdNotFound(KafkaError):
    """No such transactional id."""

    code = 105
    name = "TRANSACTIONAL_ID_NOT_FOUND"


class FetchSessionTopicIdError(RetriableError):
    """The fetch session mixes topic names and topic ids."""

    code = 106
    name = "FETCH_SESSION_TOPIC_ID_ERROR"


class IneligibleReplica(KafkaError):
    """A replica of the proposed ISR may not be in it."""

    code = 107
    name = "INELIGIBLE_REPLICA"


class NewLeaderElected(KafkaError):
    """The ISR was changed, and so was the leader."""

    code = 108
    name = "NEW_LEADER_ELECTED"


class OffsetMovedToTieredStorage(KafkaError):
    """The offset is no longer held locally, only in remote storage."""

    code = 109
    name = "OFFSET_MOVED_TO_TIERED_STORAGE"


class FencedMemberEpoch(KafkaError):
    """The member's epoch is old: give up all partitions and join again."""

    code = 110
    name = "FENCED_MEMBER_EPOCH"


class UnreleasedInstanceId(KafkaError):
    """Another member still holds this instance id."""

    code = 111
    name = "UNRELEASED_INSTANCE_ID"


class UnsupportedAssignor(KafkaError):
    """The group has no such assignor, or not in this version."""

    code = 112
    name = "UNSUPPORTED_ASSIGNOR"


class StaleMemberEpoch(KafkaError):
    """The member has yet to learn its new epoch from its heartbeat."""

    code = 113
    name = "STALE_MEMBER_EPOCH"


class MismatchedEndpointType(KafkaError):
    """The request came to the wrong kind of endpoint."""

    code = 114
    name = "MISMATCHED_ENDPOINT_TYPE"


class UnsupportedEndpointType(KafkaError):
    """Endpoints of that kind are not supported."""

    code = 115
    name = "UNSUPPORTED_ENDPOINT_TYPE"


class UnknownControllerId(KafkaError):
    """No controller has that id."""

    code = 116
    name = "UNKNOWN_CONTROLLER_ID"


class UnknownSubscriptionId(KafkaError):
    """The telemetry subscription is unknown or out of date."""

    code = 117
    name = "UNKNOWN_SUBSCRIPTION_ID"


class TelemetryTooLarge(KafkaError):
    """The telemetry is larger than the broker takes."""

    code = 118
    name = "TELEMETRY_TOO_LARGE"


class InvalidRegistration(KafkaError):
    """The registration is not valid."""

    code = 119
    name = "INVALID_REGISTRATION"


class TransactionAbortable(KafkaError):
    """The transaction must be aborted; the transactional id can be used on."""

    code = 120
    name = "TRANSACTION_ABORTABLE"


class InvalidRecordState(KafkaError):
    """The delivery cannot be acknowledged in its present state."""

    code = 121
    name = "INVALID_RECORD_STATE"


class ShareSessionNotFound(RetriableError):
    """The broker has no such share session."""

    code = 122
    name = "SHARE_SESSION_NOT_FOUND"


class InvalidShareSessionEpoch(RetriableError):
    """The share session is at another epoch."""

    code = 123
    name = "INVALID_SHARE_SESSION_EPOCH"


class FencedStateEpoch(KafkaError):
    """The share group's state is at another epoch."""

    code = 124
    name = "FENCED_STATE_EPOCH"


class InvalidVoterKey(KafkaError):
    """The voter's key is not this replica's."""

    code = 125
    name = "INVALID_VOTER_KEY"


class DuplicateVoter(KafkaError):
    """The voter is one already."""

    code = 126
    name = "DUPLICATE_VOTER"


class VoterNotFound(KafkaError):
    """No such voter."""

    code = 127
    name = "VOTER_NOT_FOUND"


class InvalidRegularExpression(KafkaError):
    """The regular expression cannot be read."""

    code = 128
    name = "INVALID_REGULAR_EXPRESSION"


class RebootstrapRequired(KafkaError):
    """The client's metadata is too old: start again from the bootstrap servers."""

    code = 129
    name = "REBOOTSTRAP_REQUIRED"


class StreamsInvalidTopology(KafkaError):
    """The topology is not valid."""

    code = 130
    name = "STREAMS_INVALID_TOPOLOGY"


class StreamsInvalidTopologyEpoch(KafkaError):
    """The topology's epoch is not valid."""

    code = 131
    name = "STREAMS_INVALID_TOPOLOGY_EPOCH"


class StreamsTopologyFenced(KafkaError):
    """The topology's epoch is old."""

    code = 132
    name = "STREAMS_TOPOLOGY_FENCED"


class ShareSessionLimitReached(RetriableError):
    """The broker holds as many share sessions as it may."""

    code = 133
    name = "SHARE_SESSION_LIMIT_REACHED"
