"""The dialect of the Gemini API (`generateContent`), as a door and as an upstream."""
