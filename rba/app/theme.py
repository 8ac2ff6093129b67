"""How the page looks: the system's own fonts, calm colours, one column on a narrow window."""

import gradio as gr

CSS = """
.gradio-container { width: 100%; max-width: min(1240px, 100vw) !important;
  margin: 0 auto !important; }
.gradio-container .column, .gradio-container .row { min-width: 0; }
.painting .image-container { contain: inline-size; }
#title, #title .html-container, .part, .part .html-container, #status .html-container {
  padding: 0 !important; }
#title h1 { font-size: 1.5rem; font-weight: 650; margin: 0; }
#title p, .part p, .note p { color: var(--body-text-color-subdued); margin: .15rem 0 0; }
.part h2 { font-size: 1.05rem; font-weight: 600; margin: .4rem 0 0; }
.part p, .note p { font-size: .9rem; }
.notice { padding: .7rem .9rem; border-radius: 6px; border: 1px solid var(--border-color-primary);
  border-left-width: 5px; background: var(--background-fill-secondary); line-height: 1.4; }
.notice.good { border-left-color: #2f8f5b; }
.notice.bad { border-left-color: #c4423f; }
.notice.hint { border-left-color: #5b7fb8; }
button:focus-visible, input:focus-visible, a:focus-visible, [tabindex]:focus-visible {
  outline: 3px solid #5b7fb8 !important; outline-offset: 2px; }
#status { min-height: 76px; }
#status .wrap:not(.hide) ~ .html-container { visibility: hidden; }
#status .progress-text, #status .progress-level { font-family: var(--font); }
.pictures .grid-wrap { min-height: 0 !important; padding-top: 34px; }
.pictures .caption-label { max-width: 100%; font-size: .78rem; white-space: normal; }
#examples .thumbnail-lg { aspect-ratio: 2 / 1; }
@media (max-width: 640px) {
  .gradio-container > .main { padding: 10px !important; }
  .gradio-container button.lg, .gradio-container a.lg { padding-inline: 6px; }
  #title h1 { font-size: 1.25rem; }
  #examples .grid-container, #defects .grid-container {
    grid-template-columns: repeat(2, minmax(0, 1fr)) !important; }
  #maps .grid-container { grid-template-columns: minmax(0, 1fr) !important; }
  #status .meta-text, #status .meta-text-center { top: 0; right: 0; }
}
"""


def calm_theme() -> gr.themes.Base:
    """Return a theme without a font that would have to be fetched."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.blue,
        neutral_hue=gr.themes.colors.slate,
        text_size=gr.themes.sizes.text_md,
        radius_size=gr.themes.sizes.radius_md,
        font=("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"),
        font_mono=("ui-monospace", "Consolas", "monospace"),
    )
