"""What a browser session holds and shows, without Streamlit: session files, transcripts, the loaded model, figures."""
