"""The web page: paint over a defect, drop references, see it mended. The only room with gradio."""
