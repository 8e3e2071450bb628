"""Write predictions as annotation tools import them, to correct them there. There is one module for each tool."""
