"""The messages that the Gemini API reads (https://ai.google.dev/api/generate-content)."""

from typing import Final

from model_service.sandbox.google_fields import EnumOf, ListOf, MapOf, Messages

_MODE: Final = EnumOf(
    "FunctionCallingConfig.Mode",
    frozenset({"MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"}),
)
_LEVEL: Final = EnumOf(
    "ThinkingConfig.ThinkingLevel",
    frozenset({"THINKING_LEVEL_UNSPECIFIED", "MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH"}),
)
_MODALITY: Final = EnumOf(
    "GenerationConfig.Modality",
    frozenset({"MODALITY_UNSPECIFIED", "TEXT", "IMAGE", "AUDIO", "VIDEO"}),
)
_RESOLUTION: Final = EnumOf(
    "GenerationConfig.MediaResolution",
    frozenset(
        {
            "MEDIA_RESOLUTION_UNSPECIFIED",
            "MEDIA_RESOLUTION_LOW",
            "MEDIA_RESOLUTION_MEDIUM",
            "MEDIA_RESOLUTION_HIGH",
        }
    ),
)
_TYPE: Final = EnumOf(
    "Type",
    frozenset(
        {
            "TYPE_UNSPECIFIED",
            "STRING",
            "NUMBER",
            "INTEGER",
            "BOOLEAN",
            "ARRAY",
            "OBJECT",
            "NULL",
        }
    ),
)
_CATEGORY: Final = EnumOf(
    "HarmCategory",
    frozenset(
        {
            "HARM_CATEGORY_UNSPECIFIED",
            "HARM_CATEGORY_HARASSMENT",
            "HARM_CATEGORY_HATE_SPEECH",
            "HARM_CATEGORY_SEXUALLY_EXPLICIT",
            "HARM_CATEGORY_DANGEROUS_CONTENT",
            "HARM_CATEGORY_CIVIC_INTEGRITY",
        }
    ),
)
_THRESHOLD: Final = EnumOf(
    "SafetySetting.HarmBlockThreshold",
    frozenset(
        {
            "HARM_BLOCK_THRESHOLD_UNSPECIFIED",
            "BLOCK_LOW_AND_ABOVE",
            "BLOCK_MEDIUM_AND_ABOVE",
            "BLOCK_ONLY_HIGH",
            "BLOCK_NONE",
            "OFF",
        }
    ),
)
_TIER: Final = EnumOf("ServiceTier", frozenset({"UNSPECIFIED", "FLEX", "STANDARD", "PRIORITY"}))
_TASK: Final = EnumOf(
    "TaskType",
    frozenset(
        {
            "TASK_TYPE_UNSPECIFIED",
            "RETRIEVAL_QUERY",
            "RETRIEVAL_DOCUMENT",
            "SEMANTIC_SIMILARITY",
            "CLASSIFICATION",
            "CLUSTERING",
            "QUESTION_ANSWERING",
            "FACT_VERIFICATION",
            "CODE_RETRIEVAL_QUERY",
        }
    ),
)

MESSAGES: Final[Messages] = {
    "GenerateContentRequest": {
        "model": "string",
        "contents": ListOf("Content"),
        "systemInstruction": "Content",
        "tools": ListOf("Tool"),
        "toolConfig": "ToolConfig",
        "safetySettings": ListOf("SafetySetting"),
        "generationConfig": "GenerationConfig",
        "cachedContent": "string",
        "serviceTier": _TIER,
        "store": "bool",
        "labels": MapOf("string"),
        "continuationToken": "bytes",
    },
    "Content": {"role": "string", "parts": ListOf("Part")},
    "Part": {
        "text": "string",
        "inlineData": "Blob",
        "fileData": "FileData",
        "functionCall": "FunctionCall",
        "functionResponse": "FunctionResponse",
        "executableCode": "struct",
        "codeExecutionResult": "struct",
        "toolCall": "struct",
        "toolResponse": "struct",
        "thought": "bool",
        "thoughtSignature": "bytes",
        "videoMetadata": "struct",
        "mediaResolution": "struct",
        "partMetadata": "struct",
    },
    "Blob": {"mimeType": "string", "data": "bytes"},
    "FileData": {"mimeType": "string", "fileUri": "string"},
    "FunctionCall": {"id": "string", "name": "string", "args": "struct"},
    "FunctionResponse": {
        "id": "string",
        "name": "string",
        "response": "struct",
        "parts": ListOf("FunctionResponsePart"),
        "willContinue": "bool",
        "scheduling": "string",
    },
    "FunctionResponsePart": {"inlineData": "Blob"},
    "Tool": {
        "functionDeclarations": ListOf("FunctionDeclaration"),
        **dict.fromkeys(
            (
                "codeExecution",
                "computerUse",
                "fileSearch",
                "googleMaps",
                "googleSearch",
                "googleSearchRetrieval",
                "mcpServers",
                "urlContext",
            ),
            "value",
        ),
    },
    "FunctionDeclaration": {
        "name": "string",
        "description": "string",
        "behavior": "string",
        "parameters": "Schema",
        "parametersJsonSchema": "value",
        "response": "Schema",
        "responseJsonSchema": "value",
    },
    "ToolConfig": {
        "functionCallingConfig": "FunctionCallingConfig",
        "retrievalConfig": "struct",
        "includeServerSideToolInvocations": "bool",
    },
    "FunctionCallingConfig": {"mode": _MODE, "allowedFunctionNames": ListOf("string")},
    "SafetySetting": {"category": _CATEGORY, "threshold": _THRESHOLD},
    "GenerationConfig": {
        "temperature": "float",
        "topP": "float",
        "topK": "int32",
        "candidateCount": "int32",
        "maxOutputTokens": "int32",
        "stopSequences": ListOf("string"),
        "responseMimeType": "string",
        "responseSchema": "Schema",
        "responseJsonSchema": "value",
        "presencePenalty": "float",
        "frequencyPenalty": "float",
        "seed": "int32",
        "responseLogprobs": "bool",
        "logprobs": "int32",
        "responseModalities": ListOf(_MODALITY),
        "speechConfig": "struct",
        "thinkingConfig": "ThinkingConfig",
        "mediaResolution": _RESOLUTION,
        "enableEnhancedCivicAnswers": "bool",
        "imageConfig": "struct",
        "audioTranscriptionConfig": "struct",
    },
    "ThinkingConfig": {
        "includeThoughts": "bool",
        "thinkingBudget": "int32",
        "thinkingLevel": _LEVEL,
    },
    # A subset of OpenAPI 3.0: no `additionalProperties`, `$ref`, `const`, `oneOf` and so on.
    "Schema": {
        "type": _TYPE,
        "format": "string",
        "title": "string",
        "description": "string",
        "nullable": "bool",
        "enum": ListOf("string"),
        "maxItems": "int64",
        "minItems": "int64",
        "properties": MapOf("Schema"),
        "required": ListOf("string"),
        "minProperties": "int64",
        "maxProperties": "int64",
        "minLength": "int64",
        "maxLength": "int64",
        "pattern": "string",
        "example": "value",
        "anyOf": ListOf("Schema"),
        "propertyOrdering": ListOf("string"),
        "default": "value",
        "items": "Schema",
        "minimum": "double",
        "maximum": "double",
    },
    "CountTokensRequest": {
        "contents": ListOf("Content"),
        "generateContentRequest": "GenerateContentRequest",
    },
    "EmbedContentRequest": {
        "model": "string",
        "content": "Content",
        "taskType": _TASK,
        "title": "string",
        "outputDimensionality": "int32",
        "embedContentConfig": "EmbedContentConfig",
    },
    "EmbedContentConfig": {
        "taskType": _TASK,
        "title": "string",
        "outputDimensionality": "int32",
        "autoTruncate": "bool",
        "documentOcr": "bool",
        "audioTrackExtraction": "bool",
    },
    "BatchEmbedContentsRequest": {"requests": ListOf("EmbedContentRequest")},
}
